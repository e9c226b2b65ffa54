"""An encoded recording, in memory or in a file, and the recordings that it was put together from."""

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

import numpy as np

from mulan.data.errors import DecodeError

_PIECE_BYTES = 2**20
"""Read at a time where a file is searched: memory must not depend on its length."""


@dataclass(frozen=True)
class InMemory:
    """An encoded file whose bytes are at hand."""

    content: bytes

    def __len__(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        """A file object, to be closed."""
        return _AllOfMemory(self.content)

    def piece(self, at: int) -> tuple[bytes, int]:
        """Bytes among which byte ``at`` and at least some that follow it are, and its place among them."""
        return self.content, at

    def part(self, start: int, end: int) -> "InMemory":
        """Bytes ``start`` to ``end`` as a file of their own."""
        return InMemory(self.content[start:end])


@dataclass(frozen=True)
class OnDisk:
    """An encoded file, or bytes ``start`` to ``end`` of it, of which no more is read at a time than is needed."""

    path: str
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def open(self) -> BinaryIO:
        """A file object, to be closed."""
        return io.BufferedReader(_PartOfFile(self))

    def piece(self, at: int) -> tuple[bytes, int]:
        """Bytes from byte ``at`` on, at most a mebibyte, and its place among them."""
        with self.open() as file:
            file.seek(at)
            return file.read(_PIECE_BYTES), 0

    def part(self, start: int, end: int) -> "OnDisk":
        """Bytes ``start`` to ``end`` as a file of their own."""
        return OnDisk(self.path, self.start + start, self.start + end)


Encoded = InMemory | OnDisk


def encoded(audio: bytes | str) -> Encoded:
    """An encoded file by its bytes or its path.

    Raises:
        DecodeError: there is no file that can be read at this path.
    """
    if not isinstance(audio, str):
        return InMemory(audio)
    try:
        status = os.stat(audio)
        if not stat.S_ISREG(status.st_mode):  # to open a pipe is to wait for whoever writes into it
            raise DecodeError("missing file", f"{audio}: not a regular file")
        with open(audio, "rb"):
            return OnDisk(audio, 0, status.st_size)
    except (OSError, ValueError) as error:  # the latter of a path with a null character, or half of a surrogate pair
        if isinstance(error, DecodeError):
            raise
        raise DecodeError("missing file", f"{audio}: {getattr(error, 'strerror', None) or error}") from error


def joined_files(file: Encoded) -> list[Encoded]:
    """The files that one was put together from (``cat one.ogg two.ogg``), in their order; most often it is one.

    Decoders either stop at the end of the first, or take its rate and its channels for those of all. Looked for in Ogg,
    FLAC, WAV, AIFF, AU and MP4, each joined to its like. MPEG audio and AAC have no beginning that could be looked for,
    and need none.
    """
    data, at = file.piece(0)
    head = data[at : at + 12]
    if head[:4] == b"OggS":
        starts = _starts_of_chains(_places(file, b"OggS\0\2\0\0"))  # a page that begins a stream, at time zero
    elif head[:4] == b"fLaC" or head[:3] == b"ID3":
        starts = _places(file, b"fLaC\0\0\0\x22")  # with the length of the first block of metadata
    elif head[:4] in (b"RIFF", b"FORM"):
        starts = _starts_by_length(file, lambda at: _chunk_end(file, at), (0, head[:4]), (8, head[8:12]))
    elif head[:4] == b".snd":
        starts = _starts_by_length(file, lambda at: _au_end(file, at), (0, b".snd"))
    elif head[4:8] == b"ftyp":
        starts = [0, *_later_movies(file)]
    else:
        return [file]
    bounds = [0, *starts[1:], len(file)]
    return [file.part(*bound) for bound in pairwise(bounds)] if len(bounds) > 2 else [file]


def _places(file: Encoded, wanted: bytes) -> list[int]:
    """All places of eight bytes in a file."""
    places, at = [], 0
    while at < len(file):
        data, begin = file.piece(at)
        places += [at + place - begin for place in _places_in(data, wanted) if place >= begin]
        if at + len(data) - begin >= len(file):
            break
        at += len(data) - begin - len(wanted) + 1  # what lies across two pieces is in the second
    return places


def _places_in(data: bytes, wanted: bytes) -> list[int]:
    """As ``bytes.find`` gives them, several times as fast: hardly a file is joined of several, and all are searched."""
    words = np.frombuffer(data, "<u4", count=len(data) // 4)
    found: set[int] = set()
    for phase in range(4):
        # wherever it lies, one of its four first words is a word of the data
        word = int.from_bytes(wanted[phase : phase + 4], "little")
        same = words == np.uint32(word)
        if same.any():
            found.update(4 * int(number) - phase for number in np.flatnonzero(same))
    return sorted(place for place in found if place >= 0 and data.startswith(wanted, place))


def _starts_of_chains(starts: list[int]) -> list[int]:
    """Less the beginnings of streams that are multiplexed with the one before: all of these begin on adjacent pages."""
    return [start for number, start in enumerate(starts) if number == 0 or start - starts[number - 1] > 512]


def _starts_by_length(file: Encoded, end_of: Callable[[int], int], *marks: tuple[int, bytes]) -> list[int]:
    """Where files begin of which each is as long as it says, one after the other.

    Args:
        end_of: where the file ends that begins at a place.
        marks: what stands where in the beginning of each.
    """
    starts, at = [0], end_of(0)
    while starts[-1] < at < len(file) and all(_bytes(file, at + place, len(mark)) == mark for place, mark in marks):
        starts.append(at)
        at = end_of(at)
    return starts


def _chunk_end(file: Encoded, at: int) -> int:
    header = _bytes(file, at, 8)
    length = int.from_bytes(header[4:], "little" if header[:4] == b"RIFF" else "big")
    return at + 8 + length + length % 2


def _au_end(file: Encoded, at: int) -> int:
    header = _bytes(file, at, 12)
    return at + int.from_bytes(header[4:8]) + int.from_bytes(header[8:12])


def _later_movies(file: Encoded) -> list[int]:
    """Where the boxes of an MP4 begin anew."""
    starts, at = [], 0
    while at < len(file):
        header = _bytes(file, at, 16)
        if at and header[4:8] == b"ftyp":
            starts.append(at)
        length = int.from_bytes(header[:4])
        length = int.from_bytes(header[8:]) if length == 1 else length
        if length < 8:
            break
        at += length
    return starts


def _bytes(file: Encoded, at: int, count: int) -> bytes:
    data, begin = file.piece(at) if at < len(file) else (b"", 0)
    return data[begin : begin + count]


class _AllOfMemory(io.BytesIO):
    """Bytes as a file object that stays where it is when a spoilt file sends a decoder to a place before the start.

    An error would not reach the decoder through C, but be printed with its traceback.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _PartOfFile(io.RawIOBase):
    """Some bytes of a file as a file object that stays where it is as :class:`_AllOfMemory` does."""

    def __init__(self, part: OnDisk) -> None:
        self._file, self._part = open(part.path, "rb", buffering=0), part  # noqa: SIM115 - closed by close()
        self._file.seek(part.start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = max(0, len(self._part) - self.tell())
        return self._file.readinto(memoryview(buffer)[:left]) or 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self._part)}[whence]
        if not 0 <= origin + offset < 2**62:
            return self.tell()
        return self._file.seek(self._part.start + origin + offset) - self._part.start

    def tell(self) -> int:
        return self._file.tell() - self._part.start

    def close(self) -> None:
        self._file.close()
        super().close()

"""Sources of encoded audio, in memory or in a file, and the splitting of sources that are concatenated files."""

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

import numpy as np

from mulan.data.errors import DecodeError

_CHUNK_BYTES = 2**20
"""Number of bytes read at a time when a file is searched, so that memory does not depend on its length."""


@dataclass(frozen=True)
class BytesSource:
    """Encoded audio in memory."""

    content: bytes

    def __len__(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        """Opens a file object, which the caller must close."""
        return _LenientBytesIO(self.content)

    def read_chunk(self, at: int) -> tuple[bytes, int]:
        """Returns a chunk that contains byte ``at`` and bytes after it, and the index of ``at`` in the chunk."""
        return self.content, at

    def slice(self, start: int, end: int) -> "BytesSource":
        """Returns bytes ``start`` to ``end`` as a separate source."""
        return BytesSource(self.content[start:end])


@dataclass(frozen=True)
class FileSource:
    """Encoded audio in bytes ``start`` to ``end`` of a file, which is read as needed."""

    path: str
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def open(self) -> BinaryIO:
        """Opens a file object, which the caller must close."""
        return io.BufferedReader(_LenientFileSlice(self))

    def read_chunk(self, at: int) -> tuple[bytes, int]:
        """Returns a chunk of at most 1 MiB from byte ``at`` on, and the index of ``at`` in the chunk, which is 0."""
        with self.open() as file:
            file.seek(at)
            return file.read(_CHUNK_BYTES), 0

    def slice(self, start: int, end: int) -> "FileSource":
        """Returns bytes ``start`` to ``end`` as a separate source."""
        return FileSource(self.path, self.start + start, self.start + end)


AudioSource = BytesSource | FileSource


def audio_source(audio: bytes | str) -> AudioSource:
    """Returns the source of encoded audio, which is given by its bytes or its path.

    Raises:
        DecodeError: There is no readable regular file at the path.
    """
    if not isinstance(audio, str):
        return BytesSource(audio)
    try:
        status = os.stat(audio)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block until there is a writer
            raise DecodeError("missing file", f"{audio}: not a regular file")
        with open(audio, "rb"):
            return FileSource(audio, 0, status.st_size)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character or a lone surrogate
        if isinstance(error, DecodeError):
            raise
        raise DecodeError("missing file", f"{audio}: {getattr(error, 'strerror', None) or error}") from error


def split_concatenated(file: AudioSource) -> list[AudioSource]:
    """Splits concatenated files (``cat one.ogg two.ogg``) into single files, in order; most sources are a single file.

    This is needed because decoders stop at the end of the first file, or apply its rate and channels to all. It detects
    concatenations of Ogg, FLAC, WAV, AIFF, AU and MP4 files of one format. MPEG audio and AAC have no file header to
    detect, and need no splitting.
    """
    data, at = file.read_chunk(0)
    head = data[at : at + 12]
    if head[:4] == b"OggS":
        starts = _chain_starts(_find_all(file, b"OggS\0\2\0\0"))  # the first page of a stream, at time zero
    elif head[:4] == b"fLaC" or head[:3] == b"ID3":
        starts = _find_all(file, b"fLaC\0\0\0\x22")  # with the length of the first metadata block
    elif head[:4] in (b"RIFF", b"FORM"):
        starts = _starts_by_length(file, lambda at: _chunk_end(file, at), (0, head[:4]), (8, head[8:12]))
    elif head[:4] == b".snd":
        starts = _starts_by_length(file, lambda at: _au_end(file, at), (0, b".snd"))
    elif head[4:8] == b"ftyp":
        starts = [0, *_further_mp4_starts(file)]
    else:
        return [file]
    bounds = [0, *starts[1:], len(file)]
    return [file.slice(*bound) for bound in pairwise(bounds)] if len(bounds) > 2 else [file]


def _find_all(file: AudioSource, pattern: bytes) -> list[int]:
    """Returns the offsets of all occurrences of an eight-byte pattern."""
    offsets, at = [], 0
    while at < len(file):
        data, begin = file.read_chunk(at)
        offsets += [at + offset - begin for offset in _find_all_in(data, pattern) if offset >= begin]
        if at + len(data) - begin >= len(file):
            break
        at += len(data) - begin - len(pattern) + 1  # so that the next chunk contains any pattern across the boundary
    return offsets


def _find_all_in(data: bytes, pattern: bytes) -> list[int]:
    """Returns the same offsets as repeated ``bytes.find``, several times as fast, because all files are searched."""
    words = np.frombuffer(data, "<u4", count=len(data) // 4)
    candidates: set[int] = set()
    for phase in range(4):
        # at any alignment, one of the pattern's first four words is an aligned word of the data
        word = int.from_bytes(pattern[phase : phase + 4], "little")
        matches = words == np.uint32(word)
        if matches.any():
            candidates.update(4 * int(index) - phase for index in np.flatnonzero(matches))
    return sorted(offset for offset in candidates if offset >= 0 and data.startswith(pattern, offset))


def _chain_starts(starts: list[int]) -> list[int]:
    """Drops the starts of streams multiplexed with the previous one, which begin on adjacent pages."""
    return [start for index, start in enumerate(starts) if index == 0 or start - starts[index - 1] > 512]


def _starts_by_length(file: AudioSource, end_of: Callable[[int], int], *marks: tuple[int, bytes]) -> list[int]:
    """Returns the starts of concatenated files that each declare their length.

    Args:
        file: Source to search.
        end_of: Maps the start of a file to its declared end.
        marks: Bytes that every file must contain, each with its offset.
    """
    starts, at = [0], end_of(0)
    while starts[-1] < at < len(file) and all(_bytes(file, at + offset, len(mark)) == mark for offset, mark in marks):
        starts.append(at)
        at = end_of(at)
    return starts


def _chunk_end(file: AudioSource, at: int) -> int:
    header = _bytes(file, at, 8)
    length = int.from_bytes(header[4:], "little" if header[:4] == b"RIFF" else "big")
    return at + 8 + length + length % 2


def _au_end(file: AudioSource, at: int) -> int:
    header = _bytes(file, at, 12)
    return at + int.from_bytes(header[4:8]) + int.from_bytes(header[8:12])


def _further_mp4_starts(file: AudioSource) -> list[int]:
    """Returns the offsets of the ``ftyp`` boxes after the first."""
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


def _bytes(file: AudioSource, at: int, count: int) -> bytes:
    data, begin = file.read_chunk(at) if at < len(file) else (b"", 0)
    return data[begin : begin + count]


class _LenientBytesIO(io.BytesIO):
    """A BytesIO that ignores seeks to before the start, which decoders attempt in damaged files.

    An exception could not propagate through the decoder's C code; its traceback would be printed.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _LenientFileSlice(io.RawIOBase):
    """A file object over a slice of a file, which ignores invalid seeks like :class:`_LenientBytesIO`."""

    def __init__(self, source: FileSource) -> None:
        self._file, self._source = open(source.path, "rb", buffering=0), source  # noqa: SIM115 - closed by close()
        self._file.seek(source.start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        remaining = max(0, len(self._source) - self.tell())
        return self._file.readinto(memoryview(buffer)[:remaining]) or 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self._source)}[whence]
        if not 0 <= origin + offset < 2**62:
            return self.tell()
        return self._file.seek(self._source.start + origin + offset) - self._source.start

    def tell(self) -> int:
        return self._file.tell() - self._source.start

    def close(self) -> None:
        self._file.close()
        super().close()

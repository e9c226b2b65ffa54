"""The duration of a recording as the header of its audio file states it, from a few bytes and without decoding.

It may be an estimate, and it is not verified: whoever decodes the file finds out the true one
(:mod:`mulan.data.audio.frame_count`).
"""

import io
import math
from collections.abc import Callable
from typing import BinaryIO, cast

from tinytag import TinyTag
from tinytag.tinytag import TinyTagException

from mulan.data.audio.flac import flac_declared_s
from mulan.data.audio.source import BytesSource

ReadAt = Callable[[int, int], bytes]
"""Reads a range of the file, given by its start and size in bytes, truncated at the end."""

_START_BYTES = 64
"""Number of bytes in which FLAC's first metadata block, and Ogg's first page up to the sample rate, are."""
_MIN_READ = 512
_MIN_BUDGET = 2048
"""Number of bytes that may be read of a small file; of others, 1 %."""
_TAIL_BYTES = (1024, 4096, 16_384, 65_536)
"""Sizes of the ends of an Ogg file in which its last page is searched; a page has at most 65,307 bytes."""

_MIN_BYTES_PER_S, _MAX_BYTES_PER_S = 50, 10_000_000
"""Bounds of the plausible size of a second of audio: speech codecs, and 32 channels of float64 at 40 kHz."""


def is_plausible_duration(seconds: float, size: int) -> bool:
    """Returns whether an audio file of ``size`` bytes can have a duration in seconds.

    It rules out durations in samples or milliseconds, and those of headers that were never completed.
    """
    return 0 < seconds < math.inf and seconds * _MIN_BYTES_PER_S <= size <= seconds * _MAX_BYTES_PER_S


def stated_duration_s(read_at: ReadAt, size: int, start: bytes = b"") -> float | None:
    """Returns the duration in seconds that the header of an audio file states; None if it cannot be told from it.

    FLAC, WAV, AIFF, MP3, MP4 and WMA state it at the start. An MP3 without Xing header is taken to have the bit rate of
    its first frames. Of an Ogg file (Vorbis, Opus), the last page is read as well.

    Args:
        read_at: Reads a range of the file.
        size: Size of the file in bytes.
        start: First bytes of the file, as far as they are known, which are not read again.
    """
    if len(start) < min(_START_BYTES, size):
        start = read_at(0, min(_MIN_READ, size))
    if start.startswith(b"OggS"):
        seconds = _ogg_s(read_at, size, start)
    elif start.startswith(b"fLaC"):
        seconds = flac_declared_s(BytesSource(start))
    else:
        seconds = _by_tinytag(read_at, size, start)
    return seconds if is_plausible_duration(seconds, size) else None


def _ogg_s(read_at: ReadAt, size: int, start: bytes) -> float:
    """Returns the duration by the position of the last page; 0 for codecs other than Vorbis and Opus."""
    packet = start[27 + start[26] :] if len(start) > 26 else b""
    if packet.startswith(b"OpusHead"):
        rate_hz, skipped = 48_000, int.from_bytes(packet[10:12], "little")
    elif packet.startswith(b"\x01vorbis"):
        rate_hz, skipped = int.from_bytes(packet[12:16], "little"), 0
    else:
        return 0.0
    tail, position = b"", -1
    for length in _TAIL_BYTES:
        length = min(length, size)
        tail = read_at(size - length, length - len(tail)) + tail
        page = tail.rfind(b"OggS\0")
        while page >= 0 and position < 0:
            position = int.from_bytes(tail[page + 6 : page + 14].ljust(8, b"\xff"), "little", signed=True)
            page = tail.rfind(b"OggS\0", 0, page)
        if position >= 0 or length == size:
            break
    return max(0, position - skipped) / rate_hz if rate_hz else 0.0


def _by_tinytag(read_at: ReadAt, size: int, start: bytes) -> float:
    if start[:1] == b"\xff" and len(start) > 1 and not start[1] & 0x06:  # AAC in ADTS, which it takes for MP3
        return 0.0
    file = _Start(read_at, size, start)
    try:
        tag = TinyTag.get(file_obj=cast(BinaryIO, file), tags=False)
    except TinyTagException:
        return 0.0
    if file.exhausted:  # an MP3 with a variable bit rate: the average of the frames that were read
        return size / (tag.bitrate * 125) if tag.bitrate and tag.mime_type == "audio/mpeg" else 0.0
    return tag.duration or 0.0


class _Start(io.RawIOBase):
    """A file object of which few bytes can be read; then it seems to end."""

    def __init__(self, read_at: ReadAt, size: int, start: bytes) -> None:
        super().__init__()
        self._read_at, self._size = read_at, size
        self._first, self._buffer = 0, start
        self._position = 0
        self._budget = max(_MIN_BUDGET, size // 100)
        self.exhausted = False

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence])
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        if self._position >= end:
            return b""
        if not self._first <= self._position <= end <= self._first + len(self._buffer):
            wanted = min(max(_MIN_READ, end - self._position), self._size - self._position)
            if wanted > self._budget:
                self.exhausted = True
                return b""
            self._budget -= wanted
            self._first, self._buffer = self._position, self._read_at(self._position, wanted)
        content = self._buffer[self._position - self._first : end - self._first]
        self._position += len(content)
        return content

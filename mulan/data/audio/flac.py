"""The frames of a FLAC stream: whether they are as many as its header says, and one stream.

A header may say nothing of the length, or what was true before the file was cut, continued or joined to another one.
Each frame says its place in the stream, so that the truth is seen without decoding.
"""

from collections.abc import Iterator
from itertools import pairwise

from mulan.data.audio.encoded import Encoded
from mulan.data.audio.mpeg import size_of_id3

_START = b"fLaC\0\0\0\x22"
"""What a stream begins with: its mark, and the length of the first block of metadata."""

_SEARCHED_BYTES = 2**16
"""In which a frame is looked for: one of noise in many channels, and behind the last one perhaps tags."""

_PROBES = 3
"""Frames that are looked at between the first and the last."""


def flac_told_s(file: Encoded) -> float:
    """Seconds that the header of a FLAC stream says it has; 0 where it says nothing, and for any other file."""
    header = _header(file)
    fields = int.from_bytes(header[18:26])
    rate_hz = fields >> 44
    return (fields & 2**36 - 1) / rate_hz if header and rate_hz else 0.0


def is_one_flac_stream(file: Encoded, frames: int) -> bool:
    """Whether the last frame of a file ends after so many samples, and those before it count up to it.

    Streams that were joined begin to count again. Where the last of them is as long as the first, to the sample, that
    is seen by the frames in between, unless one stream has more than three times the bytes of the other.
    """
    header = _header(file)
    smallest, largest = int.from_bytes(header[8:10]), int.from_bytes(header[10:12])
    fixed = largest if smallest == largest else 0
    if not header or _last_end(file, fixed) != frames:
        return False
    places = [len(file) * probe // (_PROBES + 1) for probe in range(1, _PROBES + 1)]
    ends = [end for place in places if (end := _next_end(file, place, fixed)) is not None]
    return all(one <= other for one, other in pairwise([*ends, frames]))


def _header(file: Encoded) -> bytes:
    """The first 42 bytes of a stream; none of any other file."""
    data, begin = file.piece(0)
    start = begin + size_of_id3(data, begin)
    return data[start : start + 42] if data[start : start + 8] == _START else b""


def _last_end(file: Encoded, fixed_size: int) -> int | None:
    place = max(0, len(file) - _SEARCHED_BYTES)
    data, begin = file.piece(place)
    for at in _backwards(data, begin):
        end = _frame_end(data[at : at + 16], fixed_size)
        if end is not None:
            return end
    return None


def _backwards(data: bytes, begin: int) -> Iterator[int]:
    at = len(data)
    while (at := data.rfind(b"\xff", begin, at)) >= 0:
        yield at


def _next_end(file: Encoded, place: int, fixed_size: int) -> int | None:
    data, at = file.piece(place)
    last = at + _SEARCHED_BYTES
    while (at := data.find(b"\xff", at, last)) >= 0:
        end = _frame_end(data[at : at + 16], fixed_size)
        if end is not None:
            return end
        at += 1
    return None


def _frame_end(header: bytes, fixed_size: int) -> int | None:
    """Samples up to the end of the frame that begins with these bytes; None if no frame does.

    Args:
        header: 16 bytes, or what there is.
        fixed_size: samples of every frame but the last; 0 where they vary.
    """
    if len(header) < 6 or header[1] not in (0xF8, 0xF9) or header[2] < 0x10 or header[3] & 1:
        return None
    # a number as in UTF-8, but of up to 36 bits
    ones = 8 - (header[4] ^ 0xFF).bit_length()
    number, at = header[4] & (0x7F >> ones), 5
    if ones == 1 or ones == 8:
        return None
    for byte in header[5 : 4 + ones]:
        number, at = number << 6 | byte & 0x3F, at + 1
    size_code, rate_code = header[2] >> 4, header[2] & 15
    if size_code in (6, 7):
        size = int.from_bytes(header[at : at + size_code - 5]) + 1
        at += size_code - 5
    else:
        size = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(header) or _crc8(header[:at]) != header[at]:
        return None
    if header[1] & 1:  # the number is that of the first sample
        return number + size
    return number * fixed_size + size if fixed_size else None


def _crc8(data: bytes) -> int:
    """FLAC's checksum of a frame header."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc8_of(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 & 0xFF ^ (0x07 if byte & 0x80 else 0)
    return byte


_CRC8 = tuple(map(_crc8_of, range(256)))

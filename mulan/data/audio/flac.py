"""Verification of the length in a FLAC header by the frames, without decoding.

A header may declare no length, or one from before the file was truncated, extended or concatenated. Each frame states
its position in the stream.
"""

from collections.abc import Iterator
from itertools import pairwise

from mulan.data.audio.mpeg import id3_size
from mulan.data.audio.source import AudioSource

_START = b"fLaC\0\0\0\x22"
"""First bytes of a stream: its marker and the length of the first metadata block."""

_SEARCHED_BYTES = 2**16
"""Number of bytes that are searched for a frame: enough for noise in many channels, or tags after the last frame."""

_PROBES = 3
"""Number of frames that are examined between the first and the last."""


def flac_declared_s(file: AudioSource) -> float:
    """Returns the duration in seconds that a FLAC header declares; 0 if it declares none, or for any other file."""
    header = _header(file)
    fields = int.from_bytes(header[18:26])
    rate_hz = fields >> 44
    return (fields & 2**36 - 1) / rate_hz if header and rate_hz else 0.0


def is_single_flac_stream(file: AudioSource, frames: int) -> bool:
    """Returns whether the last frame ends after ``frames`` samples, and the positions of earlier frames ascend.

    In concatenated streams the positions restart. If the last stream is exactly as long as the first, the frames in
    between reveal the concatenation, unless one stream has more than three times the bytes of the other.
    """
    header = _header(file)
    smallest, largest = int.from_bytes(header[8:10]), int.from_bytes(header[10:12])
    fixed = largest if smallest == largest else 0
    if not header or _last_end(file, fixed) != frames:
        return False
    offsets = [len(file) * probe // (_PROBES + 1) for probe in range(1, _PROBES + 1)]
    ends = [end for offset in offsets if (end := _next_end(file, offset, fixed)) is not None]
    return all(one <= other for one, other in pairwise([*ends, frames]))


def _header(file: AudioSource) -> bytes:
    """Returns the first 42 bytes of a FLAC stream; empty for any other file."""
    data, begin = file.read_chunk(0)
    start = begin + id3_size(data, begin)
    return data[start : start + 42] if data[start : start + 8] == _START else b""


def _last_end(file: AudioSource, fixed_size: int) -> int | None:
    offset = max(0, len(file) - _SEARCHED_BYTES)
    data, begin = file.read_chunk(offset)
    for at in _backwards(data, begin):
        end = _frame_end(data[at : at + 16], fixed_size)
        if end is not None:
            return end
    return None


def _backwards(data: bytes, begin: int) -> Iterator[int]:
    at = len(data)
    while (at := data.rfind(b"\xff", begin, at)) >= 0:
        yield at


def _next_end(file: AudioSource, offset: int, fixed_size: int) -> int | None:
    data, at = file.read_chunk(offset)
    last = at + _SEARCHED_BYTES
    while (at := data.find(b"\xff", at, last)) >= 0:
        end = _frame_end(data[at : at + 16], fixed_size)
        if end is not None:
            return end
        at += 1
    return None


def _frame_end(header: bytes, fixed_size: int) -> int | None:
    """Returns the sample position of the end of the frame with this header; None if it is not a frame header.

    Args:
        header: At most 16 bytes.
        fixed_size: Number of samples of every frame except the last; 0 if it varies.
    """
    if len(header) < 6 or header[1] not in (0xF8, 0xF9) or header[2] < 0x10 or header[3] & 1:
        return None
    # a number in UTF-8's encoding, extended to 36 bits
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
    if header[1] & 1:  # the number is that of the first sample; otherwise that of the frame
        return number + size
    return number * fixed_size + size if fixed_size else None


def _crc8(data: bytes) -> int:
    """Returns FLAC's checksum of a frame header."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc8_of(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 & 0xFF ^ (0x07 if byte & 0x80 else 0)
    return byte


_CRC8 = tuple(map(_crc8_of, range(256)))

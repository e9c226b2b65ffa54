"""Whether libsndfile knows the length of a file, or has only estimated it or believed a header.

A window is drawn from the whole length, so a wrong one would hide sound, or promise some that is not there. What cannot
be told here is found by decoding all of it (:mod:`mulan.data.sound`), which takes longer and is never wrong.
"""

import soundfile

from mulan.data.encoded import Encoded
from mulan.data.mpeg_frames import MpegFrames, mpeg_frames, size_of_id3

_MOST_UNEXPLAINED = 0.1
"""Share of a file of plain samples that may be something else: tags, pictures, markers."""

_SAMPLE_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}

_FLAC = b"fLaC\0\0\0\x22"
"""What a stream begins with: its mark, and the length of the first block of metadata."""

_FLAC_TAIL_BYTES = 2**16
"""In which FLAC's last frame is looked for: a frame of noise, and tags that may follow it."""


def known_frames(file: Encoded, opened: soundfile.SoundFile) -> int | None:
    """Frames of a file that libsndfile has opened, if what it says is the truth; None where that cannot be told."""
    told = int(opened.frames)
    if not 0 < told < 2**62:
        return None
    if opened.subtype.startswith("MPEG"):
        found = mpeg_frames(file)
        return _told_of_mpeg(told, found) if found else None
    if opened.format == "FLAC":
        return told if _flac_ends_at(file, told) else None
    sound = told * opened.channels * _SAMPLE_BYTES.get(opened.subtype, 0)
    unexplained = len(file) - sound if sound else 0
    return None if unexplained > max(4096, _MOST_UNEXPLAINED * len(file)) else told


def _told_of_mpeg(told: int, found: MpegFrames) -> int | None:
    whole = found.count * found.samples_per_frame
    if not found.told:  # an estimate, beyond which libsndfile does not read
        return min(told, whole) if abs(told - whole) < 2 * found.samples_per_frame else None
    whole -= found.samples_per_frame  # the frame that tells is no sound
    return told if told in (whole, whole - found.padding) else None


def flac_told_s(file: Encoded) -> float:
    """Seconds that the header of a FLAC stream says it has; 0 where it says nothing, and for any other file."""
    data, begin = file.piece(0)
    start = begin + size_of_id3(data, begin)
    fields = int.from_bytes(data[start + 18 : start + 26])
    rate_hz = fields >> 44
    return (fields & 2**36 - 1) / rate_hz if data[start : start + 8] == _FLAC and rate_hz else 0.0


def _flac_ends_at(file: Encoded, frames: int) -> bool:
    """Whether a FLAC stream has its last frame where its header says, and not earlier or later."""
    data, begin = file.piece(0)
    start = begin + size_of_id3(data, begin)
    if data[start : start + 8] != _FLAC:
        return False
    smallest, largest = (int.from_bytes(data[start + at : start + at + 2]) for at in (8, 10))
    place = max(start - begin + 42, len(file) - _FLAC_TAIL_BYTES)
    data, begin = file.piece(place)
    tail = data[begin:] if begin else data
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        header = tail[at : at + 16]
        if len(header) > 5 and header[1] in (0xF8, 0xF9):
            end = _flac_frame_end(header, largest if smallest == largest else 0)
            if end is not None:
                return end == frames
    return False


def _flac_frame_end(header: bytes, fixed_size: int) -> int | None:
    """Samples up to the end of the frame that begins with these bytes; None if no frame does.

    ``fixed_size``: samples of every frame but the last; 0 where they vary.
    """
    size_code, rate_code = header[2] >> 4, header[2] & 15
    length = max(1, (header[4] ^ 0xFF).bit_length() and 8 - (header[4] ^ 0xFF).bit_length())
    number = header[4] & (0x7F if length == 1 else 0x7F >> length)
    rest = header[5 : 4 + length]
    if size_code == 0 or length > 7 or any(byte >> 6 != 2 for byte in rest):
        return None
    for byte in rest:
        number = number << 6 | byte & 0x3F
    at = 4 + length
    if size_code in (6, 7):
        extra = size_code - 5
        size = int.from_bytes(header[at : at + extra]) + 1
        at += extra
    else:
        size = {1: 192}.get(size_code) or (576 << size_code - 2 if size_code < 6 else 256 << size_code - 8)
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

"""Corrects checksums after a mutation, so that a reader does not stop at the first one."""

import struct
import tarfile


def correct_ogg(content: bytes) -> bytes:
    """Returns an Ogg file with the correct checksum of every complete page."""
    corrected, start = bytearray(content), content.find(b"OggS")
    while start >= 0:
        segments = corrected[start + 27 : start + 27 + corrected[start + 26]] if start + 27 <= len(corrected) else b""
        end = start + 27 + len(segments) + sum(segments)
        if segments and end <= len(corrected):
            corrected[start + 22 : start + 26] = bytes(4)
            corrected[start + 22 : start + 26] = struct.pack("<I", _ogg_crc(corrected[start:end]))
        start = content.find(b"OggS", start + 4)
    return bytes(corrected)


def correct_tar(content: bytes) -> bytes:
    """Returns a tar file with the correct checksum of every block that is marked as a header."""
    corrected = bytearray(content)
    for start in range(0, len(corrected) - tarfile.BLOCKSIZE + 1, tarfile.BLOCKSIZE):
        header = corrected[start : start + tarfile.BLOCKSIZE]
        if header[257:262] == b"ustar":
            expected = sum(header) - sum(header[148:156]) + 8 * ord(" ")
            corrected[start + 148 : start + 156] = b"%06o\0 " % expected
    return bytes(corrected)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
        table.append(value)
    return tuple(table)


_OGG_TABLE = _table()


def _ogg_crc(page: bytearray) -> int:
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _OGG_TABLE[value >> 24 ^ byte]
    return value

"""Checksums made right after a mutation, so that a reader does not stop at the first of them."""

import struct
import tarfile


def mend_ogg(content: bytes) -> bytes:
    """With the checksum of every page that is whole."""
    mended, start = bytearray(content), content.find(b"OggS")
    while start >= 0:
        segments = mended[start + 27 : start + 27 + mended[start + 26]] if start + 27 <= len(mended) else b""
        end = start + 27 + len(segments) + sum(segments)
        if segments and end <= len(mended):
            mended[start + 22 : start + 26] = bytes(4)
            mended[start + 22 : start + 26] = struct.pack("<I", _ogg_crc(mended[start:end]))
        start = content.find(b"OggS", start + 4)
    return bytes(mended)


def mend_tar(content: bytes) -> bytes:
    """With the checksum of every block that says it is a header."""
    mended = bytearray(content)
    for start in range(0, len(mended) - tarfile.BLOCKSIZE + 1, tarfile.BLOCKSIZE):
        header = mended[start : start + tarfile.BLOCKSIZE]
        if header[257:262] == b"ustar":
            expected = sum(header) - sum(header[148:156]) + 8 * ord(" ")
            mended[start + 148 : start + 156] = b"%06o\0 " % expected
    return bytes(mended)


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

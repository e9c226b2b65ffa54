"""MP3 files of every kind, and tags for the beginning and end of audio files."""

import numpy as np

from tests.encodings import cbr_mp3, vbr_mp3


def mp3(samples: np.ndarray, rate_hz: int, *, variable: bool, announced: bool) -> bytes:
    """Returns an MP3 file of constant or variable bit rate, with or without the frame that states its length."""
    content = vbr_mp3(samples, rate_hz) if variable else cbr_mp3(samples, rate_hz)
    if announced:
        return content
    second = content.index(content[:2], 4)  # all frames of a file start with the same bytes
    return content[second:]


def id3v2(content_bytes: int) -> bytes:
    """Returns a tag for the beginning of a file, with a title and padding."""
    title = b"TIT2" + (6).to_bytes(4) + b"\0\0" + b"\0title"
    size = max(content_bytes, len(title))
    septets = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + septets + title.ljust(size, b"\0")


def id3v1() -> bytes:
    """Returns a tag for the end of a file."""
    return b"TAG" + b"title".ljust(30, b"\0") + bytes(94) + b"\xff"


def apev2() -> bytes:
    """Returns a tag for the end of a file."""
    item = (5).to_bytes(4, "little") + bytes(4) + b"Title\0" + b"title"

    def end(flags: int) -> bytes:
        return b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in (2000, len(item) + 32, 1, flags)) + bytes(8)

    return end(0xA0000000) + item + end(0x80000000)

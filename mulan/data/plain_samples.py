"""Plain samples (PCM) that go on beyond the place where their file's header says that they end.

A recorder that was switched off, or a program that wrote into a pipe, leaves a header with the length that it had at
some time. What follows is then no chunk of the file, but more samples.
"""

from dataclasses import dataclass

from mulan.data.encoded import Encoded


@dataclass(frozen=True)
class _Layout:
    """How the chunks of a format follow each other."""

    first: int
    """Where the first chunk is."""
    length_bytes: int
    """Of the field that tells a chunk's length, which follows its name of four characters."""
    little_endian: bool
    sound: bytes
    """The name of the chunk with the samples."""
    before: int
    """Bytes in it that stand before the samples."""


_WAV = _Layout(first=12, length_bytes=4, little_endian=True, sound=b"data", before=0)
_LAYOUTS = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"FORM": _Layout(first=12, length_bytes=4, little_endian=False, sound=b"SSND", before=8),
    b"caff": _Layout(first=8, length_bytes=8, little_endian=False, sound=b"data", before=4),
}


def start_of_longer_samples(file: Encoded) -> int | None:
    """Where the samples begin that go on to the end of the file, although its header says less; None if it does not.

    Of WAV, RF64, AIFF, CAF and AU.
    """
    head = _bytes(file, 0, 12)
    if head[:4] == b".snd":  # AU has nothing behind its samples
        start = int.from_bytes(head[4:8])
        return start if 24 <= start < len(file) != start + int.from_bytes(head[8:12]) else None
    layout = _LAYOUTS.get(head[:4])
    place = layout.first if layout else len(file)
    while layout and place < len(file):
        name, length = _chunk(file, place, layout)
        if head[:4] == b"RF64" and name == b"data" and length == 2**32 - 1:
            length = int.from_bytes(_bytes(file, 28, 8), "little")
        start = place + 4 + layout.length_bytes
        place = start + length + (length % 2 if layout.length_bytes == 4 else 0)
        if name == layout.sound:
            goes_on = place < len(file) and not _is_chunk(file, place, layout)
            return start + layout.before if goes_on else None
    return None


def _is_chunk(file: Encoded, place: int, layout: _Layout) -> bool:
    """Whether a chunk may begin there, or the padding of a file."""
    name, length = _chunk(file, place, layout)
    if len(file) - place < 4 + layout.length_bytes or not any(name):
        return True
    # the last one may be cut off, or tell a wrong length; its name is in letters
    return all(0x20 <= byte < 0x7F for byte in name) and length <= len(file)


def _chunk(file: Encoded, place: int, layout: _Layout) -> tuple[bytes, int]:
    header = _bytes(file, place, 4 + layout.length_bytes)
    return header[:4], int.from_bytes(header[4:], "little" if layout.little_endian else "big")


def _bytes(file: Encoded, place: int, count: int) -> bytes:
    data, begin = file.piece(place)
    return data[begin : begin + count]

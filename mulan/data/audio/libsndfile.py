"""libsndfile (by soundfile): files opened, parts of them read, and all of them decoded from their start.

It is kept from what it does beside decoding: it looks for another file in the working folder where it does not know a
format, and prints of damaged MIDI sample dumps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile

from mulan.data.audio.encoded import Encoded
from mulan.data.audio.samples import FRAMES_AT_ONCE, Block, Decoding, check_rate, checked, mix_down

_SAMPLES_AT_ONCE = 2**22
"""Samples of all channels together that are not yet mixed down: memory must not depend on what a header promises."""

_BEGINNINGS = (
    *(b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"dns.", b"fLaC", b"OggS", b"ID3"),
    *(b" paf", b"fap ", b"2BIT", b"PVF1", b"NIST_1A", b"Creative Voice File", b"ALawSoundFile**", b"MATLAB 5.0 MAT-f"),
    *(b"Extended Instrument: ", b"\x01\x04", b"\0\0\0\0\1\0\0\0\1\0\0\0", b"\0\0\3\xe8\0\0\0\1\0\0\0\1"),
    *(bytes((0x64, 0xA3, machine, 0)) for machine in range(8)),
    *(bytes((0, machine, 0xA3, 0x64)) for machine in range(8)),
)
"""The first bytes of the formats that are known by them."""


class NotOpened(Exception):
    """A file that libsndfile does not read, in its words."""


class OnePart(soundfile.SoundFile):
    """A file of which one part is read.

    A seekable one is sought anew after each read, for the next one, which in FLAC means to decode again.
    """

    def seekable(self) -> bool:
        return False


def open_one_part(file: Encoded, content: BinaryIO) -> OnePart:
    """
    Args:
        file: to be looked at.
        content: an open file object of it.

    Raises:
        NotOpened: libsndfile does not read such files.
    """
    data, begin = file.piece(0)
    head = data[begin : begin + 32]
    mpeg = head[:1] == b"\xff" and len(head) > 1 and head[1] >= 0xE0
    htk = len(head) > 12 and 12 + 2 * int.from_bytes(head[:4]) == len(file)
    if not (mpeg or htk or head.startswith(_BEGINNINGS) or _is_sample_dump(data[begin:])):
        raise NotOpened("Format not recognised.")
    try:
        opened = OnePart(content)
        if opened.format == "SD2":  # which is in two files: it has taken one of the working folder for the other
            raise NotOpened("Format not recognised.")
        return opened
    except (soundfile.LibsndfileError, OSError) as error:
        raise NotOpened(getattr(error, "error_string", None) or str(error)) from error


def _is_sample_dump(data: bytes) -> bool:
    """Whether these are a MIDI sample dump (SDS): a header and packets, each with its checksum."""
    packets = np.frombuffer(data, np.uint8)[21:]
    if not data.startswith(b"\xf0\x7e") or not len(packets) or len(packets) % 127:
        return False
    packets = packets.reshape(-1, 127)
    framed = (packets[:, [0, 1, 3, 126]] == (0xF0, 0x7E, 2, 0xF7)).all()
    sums = np.bitwise_xor.reduce(packets[:, 1:125], axis=1) & 0x7F
    return bool(framed and (sums == packets[:, 125]).all())


def read_mono(file: OnePart, count: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """Up to so many frames from where the file stands, [frames]; in ``out`` [count, 1] if given.

    int16 where the file holds that in mono, float32 otherwise.

    Raises:
        soundfile.LibsndfileError: it cannot go on.
    """
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    most = count if out is not None else max(1, _SAMPLES_AT_ONCE // file.channels)
    parts, missing, ended = [], count, False
    while missing and not ended:
        wanted = min(missing, most)
        part = file.read(wanted, dtype, always_2d=True, out=out)
        parts.append(mix_down(part))
        missing, ended = missing - len(part), len(part) < wanted
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def by_libsndfile(file: Encoded, decoding: Decoding) -> Iterator[Block]:
    """A :data:`Decoder`."""
    with file.open() as content:
        try:
            opened = open_one_part(file, content)
        except NotOpened as error:
            decoding.fault = str(error)
            return
        with opened:
            yield from _all_blocks(opened, decoding)


def as_plain_samples(start: int, file: Encoded, decoding: Decoding) -> Iterator[Block]:
    """All from a place on, as samples of the kind that the file's are. A :data:`Decoder`, but for the place."""
    with file.open() as content, file.part(start, len(file)).open() as samples:
        try:
            told = open_one_part(file, content)
            kind = {"samplerate": told.samplerate, "channels": told.channels, "subtype": told.subtype}
            opened = OnePart(samples, format="RAW", endian=_byte_order(told), **kind)
        except (NotOpened, soundfile.LibsndfileError, ValueError) as error:
            decoding.fault = str(error)
            return
        with opened:
            yield from _all_blocks(opened, decoding)


def _byte_order(opened: OnePart) -> str:
    if opened.endian != "FILE":
        return str(opened.endian)
    return "LITTLE" if opened.format in ("WAV", "WAVEX", "RF64") else "BIG"


def _all_blocks(opened: OnePart, decoding: Decoding) -> Iterator[Block]:
    check_rate(opened.samplerate)
    while True:
        try:
            mono = read_mono(opened, max(1, min(FRAMES_AT_ONCE, _SAMPLES_AT_ONCE // opened.channels)))
        except soundfile.LibsndfileError as error:
            decoding.fault = f"{opened.format}: {error.error_string}"
            return
        if not len(mono):
            return
        decoding.seconds += len(mono) / opened.samplerate
        yield checked(mono, opened.samplerate)


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

"""Decoding of files and parts of files by libsndfile, through soundfile.

Two side effects of libsndfile are prevented: it opens other files in the working folder if it does not recognise a
format, and it prints messages about damaged MIDI sample dumps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile

from mulan.data.audio.samples import BLOCK_FRAMES, Block, DecodeStatus, check_rate, mix_down, validated_block
from mulan.data.audio.source import AudioSource

_MAX_READ_SAMPLES = 2**22
"""Maximum number of samples, over all channels, in one read, so that memory use does not depend on a header."""

_SIGNATURES = (
    *(b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"dns.", b"fLaC", b"OggS", b"ID3"),
    *(b" paf", b"fap ", b"2BIT", b"PVF1", b"NIST_1A", b"Creative Voice File", b"ALawSoundFile**", b"MATLAB 5.0 MAT-f"),
    *(b"Extended Instrument: ", b"\x01\x04", b"\0\0\0\0\1\0\0\0\1\0\0\0", b"\0\0\3\xe8\0\0\0\1\0\0\0\1"),
    *(bytes((0x64, 0xA3, machine, 0)) for machine in range(8)),
    *(bytes((0, machine, 0xA3, 0x64)) for machine in range(8)),
)
"""First bytes of files, by which their formats are recognised."""


class CannotOpen(Exception):
    """Raised with libsndfile's message for a file that it cannot open."""


class UnseekableSoundFile(soundfile.SoundFile):
    """A SoundFile that claims not to be seekable, for reading one part of a file.

    soundfile seeks in a seekable file after every read, which in FLAC means to decode again.
    """

    def seekable(self) -> bool:
        return False


def open_with_libsndfile(file: AudioSource, content: BinaryIO) -> UnseekableSoundFile:
    """Opens a file with libsndfile.

    Args:
        file: Source whose format is checked.
        content: Open file object of the source.

    Raises:
        CannotOpen: libsndfile cannot read the file.
    """
    data, begin = file.read_chunk(0)
    head = data[begin : begin + 32]
    mpeg = head[:1] == b"\xff" and len(head) > 1 and head[1] >= 0xE0
    htk = len(head) > 12 and 12 + 2 * int.from_bytes(head[:4]) == len(file)
    if not (mpeg or htk or head.startswith(_SIGNATURES) or _is_sample_dump(data[begin:])):
        raise CannotOpen("Format not recognised.")
    try:
        opened = UnseekableSoundFile(content)
        if opened.format == "SD2":  # a format of two files, the second of which it has opened in the working folder
            raise CannotOpen("Format not recognised.")
        return opened
    except (soundfile.LibsndfileError, OSError) as error:
        raise CannotOpen(getattr(error, "error_string", None) or str(error)) from error


def _is_sample_dump(data: bytes) -> bool:
    """Returns whether data is a MIDI sample dump (SDS): a header and packets, each with its checksum."""
    packets = np.frombuffer(data, np.uint8)[21:]
    if not data.startswith(b"\xf0\x7e") or not len(packets) or len(packets) % 127:
        return False
    packets = packets.reshape(-1, 127)
    framed = (packets[:, [0, 1, 3, 126]] == (0xF0, 0x7E, 2, 0xF7)).all()
    sums = np.bitwise_xor.reduce(packets[:, 1:125], axis=1) & 0x7F
    return bool(framed and (sums == packets[:, 125]).all())


def read_mono(file: UnseekableSoundFile, count: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """Reads at most ``count`` frames from the file's current position as mono.

    Args:
        file: File to read from.
        count: Maximum number of frames.
        out: Buffer [count, 1] to read into; a new one if None.

    Returns:
        Samples [frames], int16 if the file contains mono int16 and float32 otherwise.

    Raises:
        soundfile.LibsndfileError: The file cannot be read.
    """
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    max_frames = count if out is not None else max(1, _MAX_READ_SAMPLES // file.channels)
    parts, remaining, ended = [], count, False
    while remaining and not ended:
        frames = min(remaining, max_frames)
        part = file.read(frames, dtype, always_2d=True, out=out)
        parts.append(mix_down(part))
        remaining, ended = remaining - len(part), len(part) < frames
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def decode_with_libsndfile(file: AudioSource, status: DecodeStatus) -> Iterator[Block]:
    """Decodes a file with libsndfile; a :data:`Decoder`."""
    with file.open() as content:
        try:
            opened = open_with_libsndfile(file, content)
        except CannotOpen as error:
            status.fault = str(error)
            return
        with opened:
            yield from _all_blocks(opened, status)


def decode_raw_samples(start: int, file: AudioSource, status: DecodeStatus) -> Iterator[Block]:
    """Decodes raw samples from byte ``start`` on, in the file's format; a :data:`Decoder` when partially applied."""
    with file.open() as content, file.slice(start, len(file)).open() as samples:
        try:
            header = open_with_libsndfile(file, content)
            kind = {"samplerate": header.samplerate, "channels": header.channels, "subtype": header.subtype}
            opened = UnseekableSoundFile(samples, format="RAW", endian=_byte_order(header), **kind)
        except (CannotOpen, soundfile.LibsndfileError, ValueError) as error:
            status.fault = str(error)
            return
        with opened:
            yield from _all_blocks(opened, status)


def _byte_order(opened: UnseekableSoundFile) -> str:
    if opened.endian != "FILE":
        return str(opened.endian)
    return "LITTLE" if opened.format in ("WAV", "WAVEX", "RF64") else "BIG"


def _all_blocks(opened: UnseekableSoundFile, status: DecodeStatus) -> Iterator[Block]:
    check_rate(opened.samplerate)
    while True:
        try:
            mono = read_mono(opened, max(1, min(BLOCK_FRAMES, _MAX_READ_SAMPLES // opened.channels)))
        except soundfile.LibsndfileError as error:
            status.fault = f"{opened.format}: {error.error_string}"
            return
        if not len(mono):
            return
        status.seconds += len(mono) / opened.samplerate
        yield validated_block(mono, opened.samplerate)


@dataclass(frozen=True)
class _Layout:
    """The chunk layout of a format."""

    first: int
    """Offset of the first chunk in bytes."""
    length_bytes: int
    """Size in bytes of a chunk's length field, which follows its name of four characters."""
    little_endian: bool
    data_chunk: bytes
    """Name of the chunk with the samples."""
    header_bytes: int
    """Number of bytes in that chunk before the samples."""


_WAV = _Layout(first=12, length_bytes=4, little_endian=True, data_chunk=b"data", header_bytes=0)
_LAYOUTS = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"FORM": _Layout(first=12, length_bytes=4, little_endian=False, data_chunk=b"SSND", header_bytes=8),
    b"caff": _Layout(first=8, length_bytes=8, little_endian=False, data_chunk=b"data", header_bytes=4),
}


def start_of_undeclared_samples(file: AudioSource) -> int | None:
    """Returns the offset of samples that extend to the end of the file although its header declares fewer.

    Checks WAV, RF64, AIFF, CAF and AU; returns None for other files, and if there are no undeclared samples.
    """
    head = _bytes(file, 0, 12)
    if head[:4] == b".snd":  # AU has nothing after its samples
        start = int.from_bytes(head[4:8])
        return start if 24 <= start < len(file) != start + int.from_bytes(head[8:12]) else None
    layout = _LAYOUTS.get(head[:4])
    at = layout.first if layout else len(file)
    while layout and at < len(file):
        name, length = _chunk(file, at, layout)
        if head[:4] == b"RF64" and name == b"data" and length == 2**32 - 1:
            length = int.from_bytes(_bytes(file, 28, 8), "little")
        start = at + 4 + layout.length_bytes
        at = start + length + (length % 2 if layout.length_bytes == 4 else 0)
        if name == layout.data_chunk:
            continues = at < len(file) and not _is_chunk(file, at, layout)
            return start + layout.header_bytes if continues else None
    return None


def _is_chunk(file: AudioSource, at: int, layout: _Layout) -> bool:
    """Returns whether a chunk, or the padding of a file, may begin at an offset."""
    name, length = _chunk(file, at, layout)
    if len(file) - at < 4 + layout.length_bytes or not any(name):
        return True
    # the last chunk may be truncated or declare a wrong length; its name is printable
    return all(0x20 <= byte < 0x7F for byte in name) and length <= len(file)


def _chunk(file: AudioSource, at: int, layout: _Layout) -> tuple[bytes, int]:
    header = _bytes(file, at, 4 + layout.length_bytes)
    return header[:4], int.from_bytes(header[4:], "little" if layout.little_endian else "big")


def _bytes(file: AudioSource, at: int, count: int) -> bytes:
    data, begin = file.read_chunk(at)
    return data[begin : begin + count]

"""Tars in the layout of LAION-CLAP's data sets, of which only headers, texts and the start of the audio need space."""

import io
import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

AUDIO_BYTES = 160_000
"""Size of the audio of a recording in bytes: ten seconds of FLAC at 16 kHz."""
SECONDS, RATE_HZ = 10, 16_000

_START_BYTES = 512
_WORDS = (
    "slow",
    "warm",
    "bright",
    "song",
    "piano",
    "guitar",
    "drums",
    "strings",
    "soft",
    "loud",
    "voices",
    "steady",
    "beat",
)


def write_sparse_tars(folder: Path, *, recordings: int, recordings_per_tar: int) -> int:
    """Writes tars of recordings, each ``N.flac`` and ``N.json``, whose audio is a hole after its first bytes.

    The texts have 5 to 60 words; the start of the audio is that of a genuine file, whose header states its length.

    Args:
        folder: Folder for the tars, which is created, on a file system with sparse files.
        recordings: Number of recordings.
        recordings_per_tar: Number of recordings of each tar.

    Returns:
        The number of bytes of all headers and texts.
    """
    folder.mkdir(parents=True)
    start, draw, needed = _audio_start(), random.Random(0), 0
    for first in range(0, recordings, recordings_per_tar):
        with (folder / f"{first // recordings_per_tar}.tar").open("wb") as file:
            for number in range(first, min(first + recordings_per_tar, recordings)):
                text = _text(number, draw)
                needed += _add(file, f"{number}.flac", start, AUDIO_BYTES)
                needed += _add(file, f"{number}.json", text, len(text)) + len(text)
            file.truncate(file.tell() + tarfile.RECORDSIZE)
    return needed


def allocated_bytes(folder: Path) -> int:
    """Returns the number of bytes that the files of a folder occupy on the disk."""
    return sum(512 * os.stat(path).st_blocks for path in folder.iterdir())


def _audio_start() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, SECONDS * RATE_HZ)
    soundfile.write(buffer, noise, RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()[:_START_BYTES]


def _text(number: int, draw: random.Random) -> bytes:
    sentence = " ".join(draw.choices(_WORDS, k=draw.randint(5, 60)))
    original = {"title": f"Recording {number}", "url": f"https://example.org/{number}", "license": "CC0-1.0"}
    return json.dumps({"text": [sentence], "tag": draw.sample(_WORDS, 3), "original_data": original}).encode()


def _add(file: Any, name: str, content: bytes, size: int) -> int:
    """Writes a member, and returns the size of its header."""
    member = tarfile.TarInfo(name)
    member.size = size
    header = member.tobuf(tarfile.USTAR_FORMAT)
    place = file.tell() + len(header)
    file.write(header + content)
    file.seek(place - (-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    return len(header)

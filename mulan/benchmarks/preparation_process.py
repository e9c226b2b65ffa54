"""Decoding, resampling and encoding of audio files by libraries alone, in as many processes as there are cores.

``python -m mulan.benchmarks.preparation_process FOLDER`` makes a clip of every file in a folder, keeps none, and prints
the seconds that it took. It is what a preparation cannot do without.
"""

import io
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile
import soxr

START_S, DURATION_S, RATE_HZ = 30.0, 30.0, 16_000
"""The clip: MuLan's 30 s from second 30 on, at 16 kHz."""


def make_clip(path: str) -> bytes:
    """Returns a file's clip as FLAC."""
    with soundfile.SoundFile(path) as file:
        rate_hz = file.samplerate
        file.seek(round(START_S * rate_hz))
        samples = file.read(round(DURATION_S * rate_hz), dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else (samples[:, 0] + samples[:, 1]) * 0.5
    encoded = io.BytesIO()
    resampled = soxr.resample(mono, rate_hz, RATE_HZ)
    soundfile.write(encoded, resampled, RATE_HZ, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()


def _make_and_drop(path: str) -> int:
    return len(make_clip(path))  # clips are not sent to the first process


def main(folder: str) -> None:
    """Prints the seconds that the clips of all files in a folder take, without the start of the processes."""
    paths = sorted(str(path) for path in Path(folder).iterdir())
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_make_and_drop, paths[: 2 * (os.cpu_count() or 1)]))  # starts all processes
        begun = time.perf_counter()
        list(pool.map(_make_and_drop, paths, chunksize=4))
        print(time.perf_counter() - begun)


if __name__ == "__main__":
    main(sys.argv[1])

"""Benchmark of preparing: its rate against bare decoding, resampling and encoding, and its memory at two sizes."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from mulan.benchmarks.measure import Figure, in_fresh_process, ratios
from mulan.benchmarks.process_tree import ProcessReading
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.start import read

GOAL_RATE = 0.8
"""Minimum rate of a preparation relative to the libraries alone."""
GOAL_MEMORY_MB = 2 * 2**30 / 1e6
"""Maximum memory of all processes of a preparation, at either size."""
SECONDS = 65.0
"""Duration of each recording."""
TIMES = 10
"""How many times as many recordings the larger size has."""

_FORMATS = ("mp3", "flac", "ogg", "wav")
_DIFFERENT = 4
"""Number of different recordings of a format; further ones are links to them."""
_RATE_HZ = 44_100
_TIMEOUT_S = 3600.0


def bench_preparation(*, rounds: int, recordings: int, progress: Callable[[str], None]) -> Report:
    """Prepares corpora of two sizes with ``jobs.prepare``, and makes the same clips with the libraries alone, in turn.

    The rate of a preparation is that of the recordings that the larger size has in addition, so that it does not
    contain the start of the command and of Ray, which is reported too.

    Args:
        rounds: Number of measurements of each candidate.
        recordings: Number of recordings of the smaller size.
        progress: Called with a line of text after each measurement.
    """
    readings: dict[int, list[ProcessReading]] = {recordings: [], TIMES * recordings: []}
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in readings:
            write_recordings(Path(folder, f"{size}"), size)
        for number in range(rounds):
            for size, taken in readings.items():
                out = os.path.join(folder, "corpus")
                taken.append(_prepare(os.path.join(folder, f"{size}"), out))
                shutil.rmtree(out)
                progress(
                    f"round {number + 1}/{rounds}  {size} recordings: {taken[-1].wall_s:.1f} s, "
                    f"{taken[-1].peak_memory_mb:.0f} MB"
                )
            larger = os.path.join(folder, f"{TIMES * recordings}")
            output = in_fresh_process("mulan.benchmarks.preparation_process", [larger], timeout_s=_TIMEOUT_S)
            bare.append(TIMES * recordings / float(output.split()[-1]))
            progress(f"round {number + 1}/{rounds}  the libraries alone: {bare[-1]:.1f} recordings/s")
    return _report(readings, bare, recordings)


def _report(readings: dict[int, list[ProcessReading]], bare: list[float], recordings: int) -> Report:
    smaller, larger = readings[recordings], readings[TIMES * recordings]
    pairs = list(zip(smaller, larger, strict=True))
    added = (TIMES - 1) * recordings
    rate = Figure(tuple(added / (many.wall_s - few.wall_s) for few, many in pairs), "/s")
    start = Figure(tuple((TIMES * few.wall_s - many.wall_s) / (TIMES - 1) for few, many in pairs), "s")
    plain = Figure(tuple(bare), "/s")
    memory = {size: Figure(tuple(one.peak_memory_mb for one in taken), "MB") for size, taken in readings.items()}
    rows = [
        Row("jobs.prepare", {"rate": rate, "/ libraries": ratios(rate, plain), "start": start}),
        Row("the libraries alone", {"rate": plain}),
        *(Row(f"jobs.prepare, {size} recordings", {"peak memory": figure}) for size, figure in memory.items()),
    ]
    goals = [Goal("rate / libraries", rows[0].figures["/ libraries"].median, GOAL_RATE, at_most=False)]
    goals += [
        Goal(f"MB, {size} recordings", figure.median, GOAL_MEMORY_MB, at_most=True) for size, figure in memory.items()
    ]
    return Report(
        "Preparation",
        {"recordings": recordings, "recordings, s": SECONDS, "formats": ", ".join(_FORMATS)},
        rows,
        goals,
        ["Rates are recordings per second on all cores. Memory is that of all processes, including Ray's."],
    )


def _prepare(folder: str, out: str) -> ProcessReading:
    command = [sys.executable, "-m", "jobs.prepare", "--source", f"folder={folder}", "--out", out]
    # links to the same file are the same recording
    return read([*command, "--set", "duplicates.audio=false"], exit_code=0, timeout_s=_TIMEOUT_S)


def write_recordings(folder: Path, count: int) -> None:
    """Writes recordings of chords with noise, in stereo at 44.1 kHz, in each of the formats in turn."""
    folder.mkdir()
    for number in range(count):
        extension = _FORMATS[number % len(_FORMATS)]
        path = folder / f"{number:06d}.{extension}"
        if number < _DIFFERENT * len(_FORMATS):
            sound = _sound(number)
            with soundfile.SoundFile(path, "w", _RATE_HZ, channels=2) as file:
                for start in range(
                    0, len(sound), _RATE_HZ
                ):  # its Vorbis encoder crashes when it is given a minute at once
                    file.write(sound[start : start + _RATE_HZ])
        else:
            os.link(folder / f"{number % (_DIFFERENT * len(_FORMATS)):06d}.{extension}", path)


def _sound(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    time_s = np.arange(int(SECONDS * _RATE_HZ), dtype=np.float32) / _RATE_HZ
    notes = sum(np.sin(2 * np.pi * hz * time_s) for hz in random.uniform(80, 2000, 5))
    noise = random.normal(size=(len(time_s), 2)).astype(np.float32)
    return (0.08 * np.asarray(notes)[:, None] + 0.03 * noise).astype(np.float32)

"""Benchmark of adoption: the time, the bytes and the memory that an index of existing tars takes."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from mulan.benchmarks.adoption_process import AdoptionReading
from mulan.benchmarks.measure import BenchmarkFailed, Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.sparse_tars import AUDIO_BYTES, write_sparse_tars

GOAL_S = 60.0
"""Maximum seconds for 100,000 recordings on two cores."""
GOAL_PERCENT = 1.0
"""Maximum percentage of the bytes of the tars that is read in addition to headers and texts."""

RECORDINGS_PER_TAR = 512
"""Number of recordings of a tar in LAION-CLAP's data sets."""

SEVERAL, ONE = f"tars of {RECORDINGS_PER_TAR}", "one tar"
_PER = 100_000
_TIMEOUT_S = 3600.0


def bench_adoption(*, recordings: int, rounds: int, progress: Callable[[str], None]) -> Report:
    """Adopts the same recordings in tars of 512 and in a single tar, in turn, each time in a fresh process.

    Args:
        recordings: Number of recordings of 160 kB; of their audio, only the first bytes occupy the disk.
        rounds: Number of measurements of each.
        progress: Called with a line of text after each measurement.

    Raises:
        BenchmarkFailed: An index lacks recordings.
    """
    readings: dict[str, list[AdoptionReading]] = {SEVERAL: [], ONE: []}
    needed, sizes = {}, {}
    with tempfile.TemporaryDirectory(prefix="adoption") as name:
        folders = {SEVERAL: Path(name, "several"), ONE: Path(name, "one")}
        for layout, per_tar in ((SEVERAL, RECORDINGS_PER_TAR), (ONE, recordings)):
            needed[layout] = write_sparse_tars(folders[layout], recordings=recordings, recordings_per_tar=per_tar)
            sizes[layout] = sum(path.stat().st_size for path in folders[layout].iterdir())
        for number in range(rounds):
            for layout, folder in folders.items():
                reading = _read(folder, Path(name, "corpus"), recordings)
                readings[layout].append(reading)
                progress(
                    f"round {number + 1}/{rounds}  {layout}: {reading.seconds:.1f} s, {reading.cpu_s:.1f} CPU-s, "
                    f"{reading.bytes_read / 1e6:.0f} MB"
                )
    rows = [_row(layout, taken, needed[layout], sizes[layout]) for layout, taken in readings.items()]
    goals = [
        goal
        for row in rows
        for goal in (
            Goal(f"{row.name}, seconds per 100,000", row.figures[_TIME].median, GOAL_S, at_most=True),
            Goal(
                f"{row.name}, percent beyond headers and texts", row.figures[_SHARE].median, GOAL_PERCENT, at_most=True
            ),
        )
    ]
    settings = {"rounds": rounds, "recordings": recordings, "audio, bytes": AUDIO_BYTES}
    return Report("Adoption", settings, rows, goals, ["Tars are in the page cache, and their audio is mostly holes."])


_TIME, _SHARE = "time per 100,000", "beyond headers and texts"


def _read(folder: Path, corpus: Path, recordings: int) -> AdoptionReading:
    arguments = [str(folder), str(corpus)]
    output = in_fresh_process("mulan.benchmarks.adoption_process", arguments, timeout_s=_TIMEOUT_S)
    reading = AdoptionReading(**json.loads(output.splitlines()[-1]))
    if reading.recordings != recordings:
        raise BenchmarkFailed(f"the index has {reading.recordings} of {recordings} recordings")
    return reading


def _row(layout: str, taken: list[AdoptionReading], needed: int, size: int) -> Row:
    count = taken[0].recordings
    return Row(
        layout,
        {
            _TIME: Figure(tuple(reading.seconds * _PER / count for reading in taken), "s"),
            "CPU": Figure(tuple(reading.cpu_s * _PER / count for reading in taken), "s"),
            "recordings/s": Figure(tuple(count / reading.seconds for reading in taken), ""),
            "read": Figure(tuple(reading.bytes_read / 1e6 for reading in taken), "MB"),
            _SHARE: Figure(tuple(100 * (reading.bytes_read - needed) / size for reading in taken), "%"),
            "memory": Figure(tuple(reading.memory_mb for reading in taken), "MB"),
        },
    )

"""Benchmark of an index of many rows: the time until the first batch is planned, memory, and the order of epochs."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mulan.benchmarks.measure import BenchmarkFailed, BenchmarkRefused, Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.storage.machine_cache import CACHE_VARIABLE

GOALS = {
    "first_batch_warm_s": 5.0,
    "first_batch_cold_s": 30.0,
    "private_mib": 1024.0,
    "reader_private_mib": 1024.0,
    "shared_mib": 4096.0,
}
"""Maximum time and memory of 44 million rows."""
MIN_ROWS = 200_000
"""Minimum number of rows: of fewer, a split may lack texts of a source."""
GOAL_Z = 4.0
"""Maximum deviate of an order from a random one."""
_UNITS = {"s": "s", "mib": "MiB", "z": "", "missing": ""}
_TIMEOUT_S = 3600.0


def bench_index(*, rows: int, rounds: int, progress: Callable[[str], None]) -> Report:
    """Writes a synthetic index, and opens it in fresh processes without and with its copy in the machine's cache.

    Before it is opened without, its file is removed from the page cache.

    Args:
        rows: Number of rows.
        rounds: Number of times that it is opened, each way.
        progress: Called with a line of text after each measurement.

    Raises:
        BenchmarkRefused: There are less than :data:`MIN_ROWS` rows.
        BenchmarkFailed: The order of an epoch lacks recordings.
    """
    if rows < MIN_ROWS:
        raise BenchmarkRefused(f"--rows {rows}: at least {MIN_ROWS} are needed")
    taken: dict[str, list[float]] = {}

    def measure(mode: str, corpus: str, **names: str) -> None:
        output = in_fresh_process("mulan.benchmarks.index_process", [mode, corpus, str(rows)], timeout_s=_TIMEOUT_S)
        found = json.loads(output.splitlines()[-1])
        for name, value in found.items():
            taken.setdefault(names.get(name, name), []).append(value)
        progress(f"{mode}: " + "  ".join(f"{names.get(name, name)} {value:.3g}" for name, value in found.items()))

    with tempfile.TemporaryDirectory(prefix="index-") as folder:
        corpus, cache = str(Path(folder, "corpus")), Path(folder, "cache")
        os.environ[CACHE_VARIABLE] = str(cache)
        measure("write", corpus)
        taken["file_mib"] = [Path(corpus, INDEX_NAME).stat().st_size / 2**20]
        for _ in range(rounds):
            for cached in cache.glob("indices/*"):
                cached.unlink()
            _forget(Path(corpus, INDEX_NAME))
            measure("open", corpus, first_batch_s="first_batch_cold_s")
            measure("open", corpus, first_batch_s="first_batch_warm_s")
        measure("share", corpus)
    measure("order", "")
    if taken.pop("missing") != [0.0]:
        raise BenchmarkFailed("the order of an epoch lacks recordings")
    figures = {name: Figure(tuple(values), _UNITS[name.rpartition("_")[2]]) for name, values in taken.items()}
    # all measurements of memory must be within the goal, and the usual ones of time
    goals = [
        Goal(name, figures[name].high if figures[name].unit == "MiB" else figures[name].median, bound, at_most=True)
        for name, bound in GOALS.items()
    ]
    goals += [
        Goal(f"size of {name}", abs(figures[name].median), GOAL_Z, at_most=True)
        for name in ("chi_squared_z", "serial_correlation_z")
    ]
    return Report("Index", {"rows": rows, "rounds": rounds}, [Row("index", figures)], goals)


def _forget(path: Path) -> None:
    """Removes a file from the page cache, so that it is read from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

"""A process that adopts the tars of a folder once, and prints the measurement as a line of JSON.

``python -m mulan.benchmarks.adoption_process FOLDER CORPUS``. Linux only: the kernel counts what is read.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mulan.benchmarks.sparse_tars import write_sparse_tars
from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.index import Corpus


@dataclass(frozen=True)
class AdoptionReading:
    """One adoption."""

    seconds: float
    """Wall time in seconds."""
    cpu_s: float
    """CPU time of the process in seconds."""
    bytes_read: int
    """Number of bytes that the process has read from files, as the kernel counts them."""
    memory_mb: float
    """Peak memory in addition to that before, in MB."""
    recordings: int
    """Number of recordings of the index."""


def read_adoption(folder: Path, corpus: Path) -> AdoptionReading:
    """Adopts the tars of a folder, after a small adoption that loads what is loaded late.

    Args:
        folder: Folder of tars.
        corpus: Folder for the index.
    """
    tars = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    with tempfile.TemporaryDirectory() as name:
        small = Path(name, "tars")
        write_sparse_tars(small, recordings=8, recordings_per_tar=8)
        index_shards(list(small.iterdir()), name)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current memory (man 5 proc)
    read_before, memory_before, wall_s, cpu_s = _bytes_read(), _peak_mb(), time.monotonic(), time.process_time()
    index_shards(tars, str(corpus))
    wall_s, cpu_s, read = time.monotonic() - wall_s, time.process_time() - cpu_s, _bytes_read() - read_before
    return AdoptionReading(wall_s, cpu_s, read, _peak_mb() - memory_before, Corpus.open(str(corpus)).recordings)


def _peak_mb() -> float:
    return int(_values("status")["VmHWM"].split()[0]) * 1024 / 1e6


def _bytes_read() -> int:
    return int(_values("io")["rchar"])


def _values(name: str) -> dict[str, str]:
    """Returns what the kernel tells about this process in a file of ``/proc``."""
    lines = Path("/proc/self", name).read_text().splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


if __name__ == "__main__":
    print(json.dumps(asdict(read_adoption(*map(Path, sys.argv[1:])))))

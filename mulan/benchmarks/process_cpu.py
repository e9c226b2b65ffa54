"""CPU time of this process and its descendants by what they do, so that the cost of Ray's own processes is seen.

Linux only: times are read from ``/proc``.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CpuSeconds = Mapping[tuple[int, int], tuple[str, float]]
"""Kind and CPU time in seconds of each process, by its id and the time of its start, since ids are reused."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

TRAINING, READING, SERVING, DRIVER, RAY = "training", "reading", "batch server", "driver", "Ray"
"""Kinds of processes: training workers, readers of Ray Data and of workers, the actor that serves their batches, the
process that measures, and everything else that Ray starts."""

_KINDS = {
    "ray::ReadGroups": READING,
    "ray::_LocalReader": READING,
    "ray::BatchServer": SERVING,
    "ray::RayTrainWorker": TRAINING,
    "ray::TrainWorker": TRAINING,
    "ray::_RayTrainWorker": TRAINING,
}
"""Beginnings of the titles that Ray gives to its processes."""


def cpu_seconds() -> CpuSeconds:
    """Returns the CPU time of this process and of each of its descendants that is running."""
    fields: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has just ended
            fields[int(stat.parent.name)] = stat.read_text(errors="replace").rpartition(")")[2].split()
    family = found = {os.getpid()}
    while found:
        found = {process for process, stated in fields.items() if int(stated[1]) in family} - family
        family = family | found
    return {
        (process, int(fields[process][19])): (_kind(process), sum(map(int, fields[process][11:13])) / _TICKS_PER_S)
        for process in family
    }


def spent(before: CpuSeconds, after: CpuSeconds) -> dict[str, float]:
    """Returns the CPU time in seconds between two calls of :func:`cpu_seconds`, by the kind of process.

    That of processes which have ended in between is not known and not counted.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    for process, (kind, total) in after.items():
        seconds[kind] += total - before.get(process, (kind, 0.0))[1]
    return dict(seconds)


def _kind(process: int) -> str:
    if process == os.getpid():
        return DRIVER
    try:
        title = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return RAY
    return next((kind for beginning, kind in _KINDS.items() if title.startswith(beginning)), RAY)

"""Measures the resources that the processes of a job hold, over time."""

import json
import statistics
import threading
import urllib.request
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import psutil

from tests.chaos.job import KINDS, Job, Watch

MAX_MEMORY_MIB = 128.0
"""Maximum growth of private memory: allocators keep or return freed memory, up to the activations of a step."""

MAX_FILES = 8.0
MAX_OBJECT_STORE_MIB = 64.0
"""Maximum growth of the object stores, the size of a block."""


@dataclass(frozen=True)
class Growth:
    """The growth of a resource from the second quarter of the steps to the last, by medians of samples."""

    held: str
    """Name of the resource with its process and unit."""
    before: float
    """Median in the second quarter."""
    after: float
    """Median in the last quarter."""
    bound: float
    """Maximum growth."""

    @property
    def within(self) -> bool:
        return self.after - self.before <= self.bound


class Samples:
    """A context manager that samples the resources every second, from the first step on."""

    PERIOD_S = 1.0

    def __init__(self, job: Job, watch: Watch) -> None:
        self._job, self._watch = job, watch
        self._samples: dict[tuple[str, float], list[tuple[int, float]]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> "Samples":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self) -> list[Growth]:
        steps = self._watch.max_steps()
        result = []
        for (held, bound), samples in sorted(self._samples.items()):
            before = [value for step, value in samples if steps / 4 <= step < steps / 2]
            after = [value for step, value in samples if step >= 3 * steps / 4]
            if before and after:  # not a process that existed only for a part of the run
                result.append(Growth(held, statistics.median(before), statistics.median(after), bound))
        return result

    def _take(self) -> None:
        while not self._stop.wait(self.PERIOD_S):
            step = self._watch.max_steps()
            if not step:
                continue
            for kind in [*KINDS, "driver"]:
                for number, process in enumerate(sorted(self._job.processes(kind), key=lambda each: each.pid)):
                    with suppress(psutil.Error):
                        memory = process.memory_info()
                        private_mib = (memory.rss - memory.shared) / 2**20  # the object store is shared
                        self._add(f"{kind} {number}: private memory, MiB", MAX_MEMORY_MIB, step, private_mib)
                        self._add(f"{kind} {number}: files", MAX_FILES, step, process.num_fds())
            self._add("object stores, MiB", MAX_OBJECT_STORE_MIB, step, self._object_stores_mib())

    def _add(self, held: str, bound: float, step: int, value: float) -> None:
        self._samples[held, bound].append((step, value))

    def _object_stores_mib(self) -> float:
        with urllib.request.urlopen(f"{self._job.cluster.dashboard}/nodes?view=summary", timeout=10) as answer:
            nodes = json.load(answer)["data"]["summary"]
        return sum(node["raylet"].get("objectStoreUsedMemory", 0) for node in nodes) / 2**20

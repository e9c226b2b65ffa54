"""Runs a training job in a process of its own, and observes its progress and its processes."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from mulan.runs.run import Run
from mulan.storage.jsonl import JsonLinesTail
from tests.nodes import ENVIRONMENT, Cluster

KINDS = {
    "training worker": "ray::RayTrainWorker",
    "data worker": "ray::ReadGroups",
    "batch server": "ray::BatchServer",
    "controller": "ray::TrainController",
}
"""Kinds of processes of a job, with a part of the title that Ray gives them."""


class Job:
    """A context manager that runs ``jobs.train``, possibly several times under one name, and kills it at the end."""

    def __init__(self, cluster: Cluster, run: Run, corpus_uri: str, settings: Sequence[str], *, log: Path) -> None:
        self.cluster, self.run, self._log = cluster, run, log
        self._command = [
            *(sys.executable, "-m", "jobs.train", "--recipe", "demo_miniature", "--data", corpus_uri),
            *("--storage", run.storage_uri, "--name", run.name),
            *(word for setting in settings for word in ("--set", setting)),
        ]
        self._driver: subprocess.Popen | None = None

    def __enter__(self) -> "Job":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()

    def start(self) -> None:
        """Starts the command for the first time, or again."""
        with self._log.open("ab") as log:
            self._driver = subprocess.Popen(
                self._command,
                env=ENVIRONMENT | {"RAY_ADDRESS": self.cluster.address},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def exit_code(self) -> int | None:
        assert self._driver is not None
        return self._driver.poll()

    def output(self) -> str:
        return self._log.read_text()

    def processes(self, kind: str) -> list[psutil.Process]:
        """Returns the running processes of a kind on all nodes."""
        if kind == "driver":
            assert self._driver is not None
            return [psutil.Process(self._driver.pid)] if self._driver.poll() is None else []
        processes = []
        for node in [self.cluster.head, *self.cluster.nodes]:
            for process in node.processes():
                with suppress(psutil.Error):
                    if KINDS[kind] in " ".join(process.cmdline()):
                        processes.append(process)
        return processes


class Watch:
    """A context manager that records when each line of a run's metrics and events appears."""

    PERIOD_S = 0.02

    def __init__(self, run: Run) -> None:
        self.steps: list[tuple[float, int]] = []
        """Time and number of each step; repeated steps occur repeatedly."""
        self.events: list[tuple[float, dict[str, Any]]] = []
        """Time and content of each event."""
        self._run = run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def max_steps(self) -> int:
        """Returns the maximum number of steps so far, including those that were lost."""
        return max((step for _, step in self.steps), default=0)

    def first_time(self, step: int) -> float:
        """Returns when a step was reached for the first time."""
        return min(when for when, done in self.steps if done >= step)

    @property
    def joined_s(self) -> float:
        """Time of the newest event by which workers report that they continue; 0 if there is none."""
        return max((when for when, event in self.events if "continue from step" in event["event"]), default=0.0)

    def _poll(self) -> None:
        metrics, events = JsonLinesTail(self._run.metrics_uri), JsonLinesTail(self._run.events_uri)
        while not self._stop.wait(self.PERIOD_S):
            now = time.time()
            self.steps += [(now, line["step"]) for line in metrics.new_lines()]
            self.events += [(now, line) for line in events.new_lines()]

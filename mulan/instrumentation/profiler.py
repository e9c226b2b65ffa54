"""The profiler of training steps, which writes a trace of each worker and a summary of all."""

import gzip
import json
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from mulan.config.errors import MulanError
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.instrumentation.profile_summary import ProfileSummary, RankProfile
from mulan.instrumentation.settings import StepRange
from mulan.instrumentation.trace import DATA, STEP, WorkerProfile, read_trace
from mulan.storage import filesystem

log = logging.getLogger(__name__)
T = TypeVar("T")

_COMPRESSION = 3
"""Level of gzip: traces are repetitive, and the thread that compresses takes time from training."""
_FAILURE_CHARACTERS = 300
"""The length of an error in the table of the summary."""


class StepProfiler:
    """A :class:`~mulan.training.instrument.StepInstrument` that profiles some steps and then does nothing more.

    After the last one, training waits while each worker reads its trace; traces are written to storage in a thread. A
    failure to profile never ends training.
    """

    def __init__(
        self, steps: StepRange, folder_uri: str, device: torch.device, *, report: Callable[[str, str], None] | None
    ) -> None:
        """
        Args:
            steps: Steps to profile, which are all still to be trained.
            folder_uri: Folder of the traces and the summary.
            device: Device of this worker.
            report: Called on the first worker with a line and a table; None on the others.
        """
        self._steps, self._folder_uri, self._device, self._report = steps, folder_uri, device, report
        self._profile: profile | None = None
        self._failure = ""
        self._annotation: record_function | None = None
        self._writer: threading.Thread | None = None

    def annotated(self, batches: Iterator[T]) -> Iterator[T]:
        """Yields the batches; while steps are profiled, the trace shows the time of taking each one."""
        while True:
            try:
                if self._profile is None:
                    batch = next(batches)
                else:
                    with record_function(DATA):
                        batch = next(batches)
            except StopIteration:
                return
            yield batch

    def begin_step(self, step: int) -> None:
        if step == self._steps.first:
            on_gpu = self._device.type == "cuda"
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
            starting = profile(activities=activities, acc_events=True)
            try:
                starting.start()
                self._profile = starting
            except Exception as error:  # of any kind, as if another profiler runs: the step is trained nevertheless
                self._failure = f"its profiler cannot be started: {error}"
        if self._profile is not None:
            self._annotation = record_function(f"{STEP}{step}")
            self._annotation.__enter__()  # type: ignore[no-untyped-call]

    def end_step(self, step: int) -> None:
        if self._annotation is not None:
            self._annotation.__exit__(None, None, None)
            self._annotation = None
        if step == self._steps.last:
            finished, self._profile = self._profile, None
            self._finish(finished)

    def close(self) -> None:
        """Ends a profile that training has left, and waits until the traces are written."""
        if self._profile is not None:
            with suppress(RuntimeError):  # must not hide the error that ended training
                self._profile.stop()
            self._profile = None
        if self._writer is not None:
            self._writer.join()

    def _finish(self, finished: profile | None) -> None:
        """Summarises the profile; None on a worker without one. Collective."""
        rank, _ = rank_and_world_size()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the kernels of the last step belong to the profile
        trace, measured, failure = "", None, self._failure
        if finished is not None:
            try:
                finished.stop()
                trace, measured = _export(finished)
            except Exception as error:  # no space, or an event of an unknown form: the other workers wait below
                failure = f"its trace cannot be read: {type(error).__name__}: {error}"
        failure = filesystem.printable(failure)[:_FAILURE_CHARACTERS]
        try:
            ranks = all_gather_objects(RankProfile(rank, socket.gethostname(), measured, failure))
        except BaseException:  # another worker was lost
            _remove(trace)
            raise
        summary = ProfileSummary(ranks, device=self._device.type)
        self._writer = threading.Thread(target=self._write, args=(trace, rank, summary), name="profile")
        self._writer.start()

    def _write(self, trace: str, rank: int, summary: ProfileSummary) -> None:
        try:
            if self._report is not None:
                self._write_summary(summary, self._report)
            if trace:
                _compress(trace)
                filesystem.upload(f"{trace}.gz", filesystem.join(self._folder_uri, f"rank_{rank}.json.gz"))
        except (OSError, MulanError) as error:
            log.warning("the profile cannot be written to %s: %s", self._folder_uri, error)
            if self._report is not None:
                self._report(f"the profile cannot be written to {self._folder_uri}: {error}", "")
        finally:
            _remove(trace)
            _remove(f"{trace}.gz")

    def _write_summary(self, summary: ProfileSummary, report: Callable[[str, str], None]) -> None:
        steps, table = f"steps {self._steps.first} to {self._steps.last}", summary.table()
        report(f"profile of {steps}: {summary.line()}; traces: {self._folder_uri}", table)
        content = json.dumps(summary.to_json(), indent=1).encode()
        filesystem.write_atomically(filesystem.join(self._folder_uri, "summary.json"), content)
        text = f"{steps} on {self._device.type}\n\n{table}\n"
        filesystem.write_atomically(filesystem.join(self._folder_uri, "summary.txt"), text.encode())


def _export(finished: profile) -> tuple[str, WorkerProfile]:
    """Writes the trace to a local file, and returns its path and its times."""
    handle, path = tempfile.mkstemp(prefix="mulan_trace_", suffix=".json")
    os.close(handle)
    try:
        finished.export_chrome_trace(path)
        return path, read_trace(path)
    except BaseException:
        _remove(path)
        raise


def _remove(path: str) -> None:
    with suppress(OSError):
        os.remove(path)


def _compress(path: str) -> None:
    with open(path, "rb") as source, gzip.open(f"{path}.gz", "wb", compresslevel=_COMPRESSION) as target:
        shutil.copyfileobj(source, target)

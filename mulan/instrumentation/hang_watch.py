"""The watch over steps that hang: the stacks of each worker, written while it still waits.

The timer of Python's ``faulthandler`` writes them without the interpreter's lock. A thread of the worker then moves
them to the run's folder; if something holds the lock, they stay in the temporary folder of the worker's machine.
"""

import faulthandler
import logging
import os
import socket
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mulan.config.errors import MulanError
from mulan.distributed.collectives import rank_and_world_size
from mulan.instrumentation.flight_recorder import describe_collectives, flight_record
from mulan.instrumentation.settings import TIMES_THE_MEDIAN
from mulan.storage import filesystem

MAX_REPORTS = 20
"""The maximum number of steps that one attempt reports."""
_RECENT, _ENOUGH = 100, 5
"""The number of recent steps of which the median is taken, and the number from which on it is used."""
_NAMED = 20
"""The maximum number of missing workers that are named."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HangLimits:
    """When a step is reported, and how often the thread looks; all in seconds."""

    at_least: float = 30.0
    """No step is reported before it has taken as long."""
    at_most: float = 300.0
    """Every step that takes as long is reported, also before enough steps are known for a median."""
    settling: float = 5.0
    """How long the first worker waits for the reports of the others before it names the missing ones."""
    period: float = 1.0


@dataclass(frozen=True)
class _Armed:
    """A step in progress, and when it is reported."""

    step: int
    begun_s: float
    limit_s: float
    median_s: float | None


class HangWatch:
    """A :class:`~mulan.training.instrument.StepInstrument` that reports steps that take far longer than the others.

    The report of a worker, ``step_N/rank_R.txt``, has the stacks of its threads and its newest collectives; beside it
    is the record of PyTorch's flight recorder. What lies between two steps, such as a checkpoint, is not watched.
    """

    def __init__(
        self, folder_uri: str, *, report: Callable[[str], None] | None, limits: HangLimits | None = None
    ) -> None:
        """
        Args:
            folder_uri: Folder of the reports.
            report: Called on the first worker, in another thread, with a line for the run's events; None on the others.
            limits: When a step is reported.
        """
        self._folder_uri, self._report, self._limits = folder_uri, report, limits or HangLimits()
        self._rank, self._world_size = rank_and_world_size()
        self._recent_s: deque[float] = deque(maxlen=_RECENT)
        self._armed: _Armed | None = None
        self._ended_late: tuple[_Armed, float] | None = None
        self._reports = 0
        prefix = f"mulan_stacks_rank_{self._rank}_of_{os.getpid()}_"
        # appending, so that truncating it also moves the place of the next stacks; removed by close, which must not
        # fail if the machine has removed an old file before
        descriptor, self._path = tempfile.mkstemp(prefix=prefix, suffix=".txt")
        os.close(descriptor)
        self._file = open(self._path, "a+b", buffering=0)  # noqa: SIM115
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang watch", daemon=True)
        self._thread.start()

    def begin_step(self, step: int) -> None:
        median_s, limit_s = None, self._limits.at_most
        if len(self._recent_s) >= _ENOUGH:
            median_s = statistics.median(self._recent_s)
            limit_s = min(limit_s, max(self._limits.at_least, TIMES_THE_MEDIAN * median_s))
        self._armed = _Armed(step, time.monotonic(), limit_s, median_s)
        if self._reports < MAX_REPORTS:
            faulthandler.dump_traceback_later(limit_s, file=self._file)

    def end_step(self, step: int) -> None:
        faulthandler.cancel_dump_traceback_later()
        armed = self._armed
        if armed is not None:
            took_s = time.monotonic() - armed.begun_s
            self._recent_s.append(took_s)
            if took_s >= armed.limit_s:
                self._ended_late = armed, took_s
        self._armed = None

    def close(self) -> None:
        """Ends the watch."""
        faulthandler.cancel_dump_traceback_later()
        self._stop.set()
        with suppress(OSError):
            os.remove(self._path)
        self._thread.join(timeout=30.0)  # a report may be waiting for storage
        if not self._thread.is_alive():
            self._file.close()

    def _watch(self) -> None:
        while not self._stop.wait(self._limits.period):
            if os.fstat(self._file.fileno()).st_size:
                self._on_stacks()

    def _on_stacks(self) -> None:
        self._stop.wait(self._limits.period)  # until they are written completely
        armed, late = self._armed, self._ended_late
        self._file.seek(0)
        stacks = self._file.read().decode(errors="replace")
        self._file.truncate(0)
        if armed is None or time.monotonic() - armed.begun_s < armed.limit_s:  # the step has ended since
            if late is None:
                return
            armed = late[0]
        self._reports += 1
        folder_uri, sentence = filesystem.join(self._folder_uri, f"step_{armed.step}"), _sentence(armed)
        uri = filesystem.join(folder_uri, f"rank_{self._rank}.txt")
        text, fault = self._text(sentence, stacks), ""
        try:
            filesystem.write_atomically(uri, text.encode())
        except (OSError, MulanError) as error:
            fault = f"its stacks cannot be written: {error}"
        if self._report is not None:
            self._stop.wait(self._limits.settling)
            self._report(f"{sentence}; {fault or f'stacks: {folder_uri}{self._missing(folder_uri)}'}")
        # the last, since the flight recorder may wait for a lock that a hanging collective holds
        try:
            self._write_collectives(folder_uri, uri, text)
        except Exception as error:  # of any kind, as for a record of an unknown form: later steps are still watched
            log.warning("%s; its collectives cannot be written: %s", sentence, error)
        if self._report is not None:
            self._report_end(armed, self._report)

    def _text(self, sentence: str, stacks: str) -> str:
        place = f"rank {self._rank} of {self._world_size}, process {os.getpid()} on {socket.gethostname()}"
        named = [(thread.ident, thread.name) for thread in threading.enumerate()]
        threads = [f"  0x{ident:016x}  {name}" for ident, name in named if ident is not None]
        return "\n".join([f"{sentence}: {place}", "", "threads:", *threads, "", stacks])

    def _write_collectives(self, folder_uri: str, uri: str, text: str) -> None:
        record = flight_record()
        filesystem.write_atomically(filesystem.join(folder_uri, f"flight_recorder_rank_{self._rank}"), record)
        collectives = [f"  {line}" for line in describe_collectives(record) or ["none is recorded"]]
        lines = [text, "newest collectives of this worker:", *collectives, ""]
        filesystem.write_atomically(uri, "\n".join(lines).encode())

    def _missing(self, folder_uri: str) -> str:
        """Returns which workers have written no stacks, as the end of a sentence; empty if all have."""
        try:
            there = set(filesystem.names_in(folder_uri))
        except (OSError, MulanError):
            return ""
        missing = [str(rank) for rank in range(self._world_size) if f"rank_{rank}.txt" not in there]
        if not missing:
            return ""
        ranks = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        return f"; none of rank {ranks}: stopped, lost, or in code that holds Python's lock"

    def _report_end(self, armed: _Armed, report: Callable[[str], None]) -> None:
        """Waits for the end of a step that was reported, and reports it."""
        while self._armed is armed:
            if self._stop.wait(self._limits.period):
                return
        if self._ended_late is not None and self._ended_late[0] is armed:
            report(f"step {armed.step} ended after {self._ended_late[1]:.0f} s")


def _sentence(armed: _Armed) -> str:
    took_s = time.monotonic() - armed.begun_s
    text = f"step {armed.step} has taken {took_s:.0f} s"
    return text if armed.median_s is None else f"{text}, {took_s / armed.median_s:.0f} times the median"

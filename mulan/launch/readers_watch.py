"""A thread that monitors, during training, how many CPUs read data and which workers wait for it."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

import ray
from ray.exceptions import RayError

from mulan.data.batch_server import ReaderPoolState
from mulan.data.planned_batches import BatchService

_PERIOD_S = 5.0
_REPEAT_PERIOD_S = 60.0
"""The minimum time between two lines about changes: pools grow by one CPU at a time."""


class ReadersWatch(AbstractContextManager["ReadersWatch"]):
    """Reports when workers wait for data, and when they no longer do, for as long as the context lasts."""

    def __init__(self, source: BatchService, *, on_change: Callable[[str], None]) -> None:
        """``on_change``: called with one line for the run's events, in another thread."""
        self._source, self._on_change = source, on_change
        self._newest: ReaderPoolState | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="readers", daemon=True)

    def __enter__(self) -> "ReadersWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def cpus(self) -> int | None:
        """Returns the number of CPUs that were reading at the last poll; None before the first one."""
        return self._newest.active_cpus if self._newest else None

    def _watch(self) -> None:
        status, reported_s = ReadersStatus(), 0.0
        while not self._stop.wait(_PERIOD_S):
            try:
                self._newest = ray.get(self._source.server.readers.remote(), timeout=_PERIOD_S)
            except RayError:  # the server may be restarting; the workers notice a failure themselves
                continue
            if (text := status.new_line(self._newest, since_s=time.monotonic() - reported_s)) is not None:
                self._on_change(text)
                reported_s = time.monotonic()


class ReadersStatus:
    """The last reported state of the readers, which decides whether a new state is worth a line."""

    def __init__(self) -> None:
        self._waited = False
        self._newest = ""

    def new_line(self, readers: ReaderPoolState, *, since_s: float) -> str | None:
        """Returns the line to report, or None.

        Args:
            readers: The current state.
            since_s: Seconds since the last reported line.
        """
        text = str(readers)
        waits = bool(readers.waiting or readers.reading_locally)
        if waits == self._waited and (not waits or text == self._newest or since_s < _REPEAT_PERIOD_S):
            return None
        self._waited, self._newest = waits, text
        return text if waits else "data: no worker is waiting any more"

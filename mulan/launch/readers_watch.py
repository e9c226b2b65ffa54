"""Watches, beside training, who reads data and who waits for it."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

import ray
from ray.exceptions import RayError

from mulan.data.batch_server import Readers
from mulan.data.planned_batches import Source

_PERIOD_S = 5.0
_TOLD_AGAIN_S = 60.0
"""What has changed meanwhile is told after this time, and not each time: pools grow by a CPU at a time."""


class ReadersWatch(AbstractContextManager["ReadersWatch"]):
    """Tells when workers wait for data, and when they no longer do, while the context lasts."""

    def __init__(self, source: Source, *, told: Callable[[str], None]) -> None:
        """``told``: given one line for whoever watches the run; called in another thread."""
        self._source, self._told = source, told
        self._newest: Readers | None = None
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
        """Returns how many CPUs of the pool were reading when last looked at; None before the first look."""
        return self._newest.at_work if self._newest else None

    def _watch(self) -> None:
        telling, told_s = Telling(), 0.0
        while not self._stop.wait(_PERIOD_S):
            try:
                self._newest = ray.get(self._source.server.readers.remote(), timeout=_PERIOD_S)
            except RayError:  # it may be starting again; the workers find out by themselves
                continue
            if (text := telling.news(self._newest, since_s=time.monotonic() - told_s)) is not None:
                self._told(text)
                told_s = time.monotonic()


class Telling:
    """Decides what of it is news."""

    def __init__(self) -> None:
        self._waited = False
        self._newest = ""

    def news(self, readers: Readers, *, since_s: float) -> str | None:
        """Returns the line to be told, or None.

        ``since_s``: seconds since one was told.
        """
        text = str(readers)
        waits = bool(readers.waiting or readers.reading)
        if waits == self._waited and (not waits or text == self._newest or since_s < _TOLD_AGAIN_S):
            return None
        self._waited, self._newest = waits, text
        return text if waits else "data: no worker waits any more"

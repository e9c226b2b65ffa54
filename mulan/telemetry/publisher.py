"""Publishing of readings in a thread of its own, so that no training step waits for it."""

import logging
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from ray.util import metrics

from mulan.telemetry.gauges import GAUGES, Reading

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Publishes readings; may take any time, and may fail."""

    def publish(self, readings: Iterable[Reading]) -> None:
        """Publishes readings, which replace those of the same gauge and label."""


class RayGauges(Sink):
    """Publishes readings as metrics of Ray, which each node's agent exports for Prometheus; Ray must be initialised.

    Ray sends them to the agent every 10 s (``RAY_metrics_report_interval_ms``), in a thread of its own, and removes
    them soon after the process has ended.
    """

    def __init__(self, run: str) -> None:
        """``run``: the label ``run`` of every gauge, which names the run."""
        self._run = run
        self._gauges: dict[str, metrics.Gauge] = {}

    def publish(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            label = GAUGES[reading.gauge].label
            self._gauge(reading.gauge).set(reading.value, tags={label: reading.label} if label else None)

    def _gauge(self, name: str) -> metrics.Gauge:
        if name not in self._gauges:
            description, label = GAUGES[name]
            gauge = metrics.Gauge(name, description, tag_keys=("run", label) if label else ("run",))
            gauge.set_default_tags({"run": self._run})
            self._gauges[name] = gauge
        return self._gauges[name]


class Publisher(AbstractContextManager["Publisher"]):
    """Passes the newest readings to a sink, at most once a second, in a thread.

    Neither a sink that hangs nor one that fails stops or slows the caller. At the end of the context, the last readings
    are published if the sink takes them within a second.
    """

    PERIOD_S = 1.0
    """The minimum time between two calls of the sink in seconds."""
    END_TIMEOUT_S = 1.0
    """The time that the end of the context waits for the sink in seconds."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._newest: dict[tuple[str, str], Reading] = {}
        self._lock = threading.Lock()  # held for as long as it takes to change the dict
        self._has_new, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._publish, name="telemetry", daemon=True)

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._has_new.set()
        self._thread.join(self.END_TIMEOUT_S)

    def update(self, readings: Iterable[Reading]) -> None:
        """Replaces the readings of the same gauges and labels; returns at once."""
        newest = {(reading.gauge, reading.label): reading for reading in readings}
        with self._lock:
            self._newest.update(newest)
        self._has_new.set()

    def _publish(self) -> None:
        has_failed = ends = False
        while not ends:
            self._has_new.wait()
            self._has_new.clear()
            ends = self._end.is_set()  # before the last readings are taken
            with self._lock:
                readings, self._newest = list(self._newest.values()), {}
            try:
                self._sink.publish(readings)
            except Exception as error:  # of any kind: training is worth more than its metrics
                if not has_failed:
                    log.warning("metrics of the run cannot be published: %s", error)
                has_failed = True
            self._end.wait(self.PERIOD_S)

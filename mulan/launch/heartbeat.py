"""Progress lines while a job waits for nodes: the resources that it waits for, and why they are missing."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import ray
from rich.console import Console

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, capacity, format_resources, worker_resources
from mulan.private_ray.core import Demand, demand

PERIOD_S = 30.0
"""The time between two lines."""


class Heartbeat:
    """Produces a line every :data:`PERIOD_S` while a run waits for its workers, as it does at first."""

    def __init__(self, scale: ScaleConfig, *, query: Callable[[ScaleConfig], str | None] | None = None) -> None:
        """``query``: replaces :func:`missing_resources`, which queries the cluster."""
        self._scale, self._query = scale, query or missing_resources
        self._waiting_since: float | None = time.monotonic()
        self._reported_s = self._waiting_since

    def on_workers_lost(self) -> None:
        """Starts to wait for new workers."""
        self._waiting_since = self._reported_s = time.monotonic()

    def on_workers_started(self) -> None:
        """Stops waiting."""
        self._waiting_since = None

    def next_line(self) -> str | None:
        """Returns a line if one is due, else None; queries the cluster."""
        now = time.monotonic()
        if self._waiting_since is None or now - self._reported_s < PERIOD_S:
            return None
        self._reported_s = now
        waited = f"{now - self._waiting_since:.0f} s"
        missing = self._query(self._scale)
        return f"train  waiting for {missing} ({waited})" if missing else f"train  starting workers ({waited})"


@contextmanager
def report_waiting(job: str, scale: ScaleConfig, console: Console) -> Iterator[None]:
    """Prints every :data:`PERIOD_S` during the block which resources are missing for workers of this size, if any."""
    stop = threading.Event()

    def report() -> None:
        while not stop.wait(PERIOD_S):
            if (missing := missing_resources(scale)) is not None:
                console.print(f"{job}  waiting for {missing}", soft_wrap=True)

    thread = threading.Thread(target=report, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def missing_resources(scale: ScaleConfig) -> str | None:
    """Queries the cluster for the resources that the workers of a run wait for, and describes them.

    Returns:
        The description; None if nothing is missing, if the cluster does not answer, or if there is none.
    """
    if not ray.is_initialized():  # a question would start it
        return None
    try:
        return describe_missing(scale, capacity(), demand(ray.get_runtime_context().gcs_address))
    except Exception:  # a mere report must not end the thread; it is tried again soon
        return None


def describe_missing(scale: ScaleConfig, cluster: Capacity, waiting: Demand) -> str | None:
    """Describes what the workers of a run wait for, and what the autoscaler does about it; None if nothing is missing.

    Jobs that reserve the same resources for each worker cannot be distinguished from this one.
    """
    bundle = worker_resources(scale)
    room = cluster.fit_now(bundle)
    reserved = waiting.reservations.count(bundle)
    if not reserved and room >= scale.min_workers:
        return None
    wanted = reserved or scale.min_workers
    lacking = [name for name in bundle if not any(node.resources.get(name) for node in cluster.nodes)]
    if lacking:
        reason = f"the cluster has 0 {' and 0 '.join(lacking)}"
    elif room < wanted:
        reason = f"the cluster's nodes have room for {room}"
    else:
        reason = "their resources are used by others"
    workers = f"{wanted} worker{'s' * (wanted > 1)} of {format_resources(bundle)} each"
    return f"{workers}: {reason}; {_outlook(cluster, waiting, bundle, wanted)}"


def _outlook(cluster: Capacity, waiting: Demand, bundle: Mapping[str, float], wanted: int) -> str:
    if cluster.autoscaler is None:
        return "there is no autoscaler: the job continues when nodes join or other jobs end"
    limit = cluster.fit_ever(bundle)
    states = []
    if limit is not None and limit < wanted:
        room = f"room for more than {limit}" if limit else "room for one"
        states.append(f"its node types never have {room} ({cluster.describe()})")
    states += [
        f"{count} node{'s' * (count > 1)} of type {name} starting" for name, count in sorted(waiting.starting.items())
    ]
    states += [f"nodes of type {name} could not be started: {why}" for name, why in sorted(waiting.failed.items())]
    return "autoscaler: " + (", ".join(states) or "no node starting")

"""What is told while a job waits for nodes: what it waits for, and why that is not there."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import ray
from rich.console import Console

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, capacity, size, worker_resources
from mulan.private_ray.core import Demand, demand

PERIOD_S = 30.0
"""Between two lines."""


class Heartbeat:
    """Has a line of training to tell every :data:`PERIOD_S` while workers are waited for, as they are at first."""

    def __init__(self, scale: ScaleConfig, *, ask: Callable[[ScaleConfig], str | None] | None = None) -> None:
        """``ask``: what to ask instead of the cluster; see :func:`waited_for`."""
        self._scale, self._ask = scale, ask or waited_for
        self._waiting_since: float | None = time.monotonic()
        self._told_s = self._waiting_since

    def lost(self) -> None:
        """Takes note that the workers are gone."""
        self._waiting_since = self._told_s = time.monotonic()

    def at_work(self) -> None:
        """Takes note that workers are there."""
        self._waiting_since = None

    def beat(self) -> str | None:
        """Returns the line if it is time for one, which it asks the cluster for."""
        now = time.monotonic()
        if self._waiting_since is None or now - self._told_s < PERIOD_S:
            return None
        self._told_s = now
        waited = f"{now - self._waiting_since:.0f} s"
        missing = self._ask(self._scale)
        return f"train  waiting for {missing} ({waited})" if missing else f"train  starting workers ({waited})"


@contextmanager
def telling(job: str, scale: ScaleConfig, console: Console) -> Iterator[None]:
    """Tells every :data:`PERIOD_S`, while the block lasts, what workers of this size wait for, if they do."""
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(PERIOD_S):
            if (missing := waited_for(scale)) is not None:
                console.print(f"{job}  waiting for {missing}", soft_wrap=True)

    thread = threading.Thread(target=tell, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def waited_for(scale: ScaleConfig) -> str | None:
    """Asks the cluster what the workers of a run wait for; None if they have it, or if the cluster does not answer.

    Ray must be initialised.
    """
    try:
        return in_words(scale, capacity(), demand(ray.get_runtime_context().gcs_address))
    except Exception:  # of whatever kind, since what is only told must end no thread; it is asked again soon
        return None


def in_words(scale: ScaleConfig, cluster: Capacity, waiting: Demand) -> str | None:
    """Says what the workers of a run wait for, and what the autoscaler does about it; None if they have it.

    Of other jobs, those that reserve the same for each worker cannot be told from this one.
    """
    bundle = worker_resources(scale)
    room = cluster.now(bundle)
    reserved = waiting.reservations.count(bundle)
    if not reserved and room >= scale.min_workers:
        return None
    wanted = reserved or scale.min_workers
    lacking = [name for name in bundle if not any(node.resources.get(name) for node in cluster.nodes)]
    if lacking:
        there = f"the cluster has 0 {' and 0 '.join(lacking)}"
    elif room < wanted:
        there = f"the cluster's nodes have room for {room}"
    else:
        there = "there is room for them, which others use"
    workers = f"{wanted} worker{'s' * (wanted > 1)} of {size(bundle)} each"
    return f"{workers}: {there}; {_remedy(cluster, waiting, bundle, wanted)}"


def _remedy(cluster: Capacity, waiting: Demand, bundle: Mapping[str, float], wanted: int) -> str:
    if cluster.autoscaler is None:
        return "it has no autoscaler, and goes on when nodes join or others end"
    ever = cluster.ever(bundle)
    told = []
    if ever is not None and ever < wanted:
        room = f"room for more than {ever}" if ever else "room for one"
        told.append(f"its node types never have {room} ({cluster.in_words()})")
    told += [
        f"{count} node{'s' * (count > 1)} of type {name} starting" for name, count in sorted(waiting.starting.items())
    ]
    told += [f"nodes of type {name} could not be started: {why}" for name, why in sorted(waiting.failed.items())]
    return "the autoscaler: " + (", ".join(told) or "no node starting")

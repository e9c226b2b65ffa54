"""Where trials run, and how many at once."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.tune import PlacementGroupFactory

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, Resources, worker_resources
from mulan.private_ray.core import remove_orphaned_placement_groups

POLL_PERIOD_S = 1.0

log = logging.getLogger(__name__)


@contextmanager
def release_reservations() -> Iterator[None]:
    """Gives back, within seconds, what actors of this job leave reserved while the block lasts.

    Ray Train's own way is an actor for each run, which asks the dashboard whether the run's controller lives: it finds
    out nothing where there is no dashboard, or another Ray on the same machine.
    """
    stop = threading.Event()
    watcher = threading.Thread(target=_release_until, args=(stop,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _release_until(stop: threading.Event) -> None:
    while not stop.wait(POLL_PERIOD_S):
        try:
            remove_orphaned_placement_groups()
        except Exception as error:  # a head that does not answer for a while; it is asked again
            log.debug("reservations cannot be looked at: %s", error)


def trials_at_once(scale: ScaleConfig, cluster: Capacity) -> int:
    """Counts the trials for whose workers, and readers on CPUs, the cluster can ever have room; at least 1.

    Where its autoscaler knows no limit, or does not tell it, those count that there is room for now.
    """
    rooms = [_most(cluster, worker_resources(scale)) // scale.max_workers]
    if not scale.use_gpu:  # readers take CPUs of training; those of GPUs have others, or what workers leave
        rooms.append(_most(cluster, {"CPU": 1.0}) // (scale.max_workers * scale.cpus_per_worker + scale.data_cpus))
    return max(1, min(rooms))


def _most(cluster: Capacity, bundle: Resources) -> int:
    ever = cluster.fit_ever(bundle)
    return cluster.fit_now(bundle) if ever is None else ever


def driver_resources() -> PlacementGroupFactory:
    """What the driver of a trial asks for: next to nothing, of the node of this process.

    No other node may have it: a trial is lost with its driver, and workers come and go on spot nodes.
    """
    here = ray.get_runtime_context().get_node_id()
    (own,) = (node for node in ray.nodes() if node["NodeID"] == here)
    # each node has one of itself, and a head may have no CPU; nodes that share an address are told apart by the label
    address = next(name for name in own["Resources"] if name.startswith("node:") and "__" not in name)
    return PlacementGroupFactory([{address: 0.0001}], bundle_label_selector=[{"ray.io/node-id": here}])

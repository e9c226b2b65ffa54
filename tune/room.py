"""The resources of trials: the number that run at once, and the placement of their drivers."""

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
    """Releases, within seconds, the placement groups of this job's dead actors during the block.

    Ray Train itself uses an actor for each run that queries the dashboard for the run's controller, which fails without
    a dashboard or with another Ray on the same machine.
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
        except Exception as error:  # the head may not answer for a while; it is tried again
            log.debug("placement groups cannot be listed: %s", error)


def trials_at_once(scale: ScaleConfig, cluster: Capacity) -> int:
    """Returns the number of trials whose workers and, on CPUs, readers the cluster can ever hold; at least 1.

    If the autoscaler has no known limit, the trials that fit now are counted.
    """
    limits = [_max_fitting(cluster, worker_resources(scale)) // scale.max_workers]
    if not scale.use_gpu:  # readers share the CPUs with training; with GPUs they have other CPUs, or those left over
        per_trial = scale.max_workers * scale.cpus_per_worker + scale.data_cpus
        limits.append(_max_fitting(cluster, {"CPU": 1.0}) // per_trial)
    return max(1, min(limits))


def _max_fitting(cluster: Capacity, bundle: Resources) -> int:
    limit = cluster.fit_ever(bundle)
    return cluster.fit_now(bundle) if limit is None else limit


def driver_resources() -> PlacementGroupFactory:
    """Returns the resources of a trial's driver: almost none, on the node of this process.

    The driver must not run on another node: a trial is lost with its driver, and worker nodes may be preempted.
    """
    here = ray.get_runtime_context().get_node_id()
    (own,) = (node for node in ray.nodes() if node["NodeID"] == here)
    # every node has a resource of its own, while a head may have no CPU; the label distinguishes nodes of one address
    address = next(name for name in own["Resources"] if name.startswith("node:") and "__" not in name)
    return PlacementGroupFactory([{address: 0.0001}], bundle_label_selector=[{"ray.io/node-id": here}])

"""How much a run may ask of an autoscaler: one that cannot bring all that is asked for brings nothing of it.

Ray Train's workers of an elastic run and Ray Data's readers are asked for together, and so are limited together.
"""

from mulan.config.sections import Scale
from mulan.training.capacity import Capacity, capacity
from mulan.training.data_nodes import data_nodes


def worker_resources(scale: Scale) -> dict[str, float]:
    """What each training worker takes, all of it on one node, by Ray's names."""
    return {"CPU": float(scale.cpus_per_worker)} | ({"GPU": 1.0} if scale.use_gpu else {})


def most_workers(scale: Scale, cluster: Capacity | None = None) -> int | None:
    """Returns for how many workers the autoscaler may be asked; None where there is none, or it has no limit.

    Args:
        cluster: if not given, Ray is asked, which must be initialised.
    """
    cluster = cluster or capacity()
    return cluster.ever(worker_resources(scale)) if cluster.autoscaler else None


def most_readers(scale: Scale, cluster: Capacity | None = None) -> int | None:
    """Returns for how many CPUs that read the autoscaler may be asked, beside the workers; None where there is none, or
    it has no limit.

    Args:
        cluster: if not given, Ray is asked, which must be initialised.
    """
    cluster = cluster or capacity()
    labels = data_nodes(scale, cluster)
    room = cluster.ever({"CPU": 1.0}, labels) if cluster.autoscaler else None
    if room is None or labels:
        return room
    workers = most_workers(scale, cluster)
    taken = scale.most_workers if workers is None else min(workers, scale.most_workers)
    return max(0, room - taken * scale.cpus_per_worker)

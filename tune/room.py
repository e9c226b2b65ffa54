"""Where trials run, and how many at once."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import ray
from ray.tune import PlacementGroupFactory

from mulan.config.sections import Scale


class Nodes(NamedTuple):
    """Nodes of one kind."""

    resources: Mapping[str, float]
    """Of each, by Ray's names."""
    number: int = 1
    """That there are, or that there may be."""


def nodes_now() -> list[Nodes]:
    """The nodes of the cluster that are there."""
    return [Nodes(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def trials_at_once(scale: Scale, nodes: Iterable[Nodes]) -> int:
    """Trials for whose workers, and data processes on CPUs, these nodes have room; 1 where they have not even that."""
    nodes, cpus = list(nodes), scale.cpus_per_worker
    workers = sum(one.number * _workers(scale, one.resources) for one in nodes)
    rooms = [workers // scale.most_workers]
    if not scale.use_gpu:  # on GPU nodes, data processes take CPUs that are left, and elsewhere others
        whole = sum(one.number * one.resources.get("CPU", 0) for one in nodes)
        rooms.append(int(whole // (scale.most_workers * cpus + scale.data_cpus)))
    return max(1, min(rooms))


def _workers(scale: Scale, resources: Mapping[str, float]) -> int:
    by_cpus = int(resources.get("CPU", 0) // scale.cpus_per_worker)
    return min(by_cpus, int(resources.get("GPU", 0))) if scale.use_gpu else by_cpus


def beside_this_process() -> PlacementGroupFactory:
    """What the driver of a trial asks for: next to nothing, of the node of this process.

    No other node may have it: a trial is lost with its driver, and workers come and go on spot nodes.
    """
    here = ray.get_runtime_context().get_node_id()
    (own,) = (node for node in ray.nodes() if node["NodeID"] == here)
    # each node has one of itself, and a head may have no CPU; nodes that share an address are told apart by the label
    address = next(name for name in own["Resources"] if name.startswith("node:") and "__" not in name)
    return PlacementGroupFactory([{address: 0.0001}], bundle_label_selector=[{"ray.io/node-id": here}])

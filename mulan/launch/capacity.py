"""What a cluster has, and what it can ever have: its nodes, and those that its autoscaler may start."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.config.sections import ScaleConfig
from mulan.private_ray.core import HEAD_RESOURCE, TYPE_LABEL, UNKNOWN_NODE_TYPES, NodeType, NodeTypes, node_types

_ANSWER_TIMEOUT_S = 20.0
"""In which the head must tell of its autoscaler."""

Resources = Mapping[str, float]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Node:
    """A node that is alive."""

    node_id: str
    resources: Resources
    """In all, whether or not in use."""
    labels: Labels
    address: str = ""

    @property
    def is_head(self) -> bool:
        """Whether it is the head, which no autoscaler starts."""
        return HEAD_RESOURCE in self.resources


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster that are alive, and the kinds of nodes that may join them."""

    nodes: tuple[Node, ...]
    autoscaler: NodeTypes | None = None
    """None: the cluster has no autoscaler, and what is alive is all there is."""

    def now(self, bundle: Resources, labels: Labels | None = None) -> int:
        """Counts the bundles that fit on the nodes that are alive, if nothing else ran there.

        Args:
            bundle: resources that must be on one node, such as ``{"CPU": 4, "GPU": 1}``; at least one above 0.
            labels: that the node must have.
        """
        return sum(fitting(bundle, node.resources) for node in self.nodes if has(labels, node.labels))

    def ever(self, bundle: Resources, labels: Labels | None = None) -> int | None:
        """Counts the bundles that fit once all nodes are there that ever can be; None where no limit is known.

        It takes the arguments of :meth:`now`.
        """
        if self.autoscaler is None:
            return self.now(bundle, labels)
        alive = Counter(node.labels.get(TYPE_LABEL) for node in self.nodes if not node.is_head)
        names = {kind.name for kind in self.autoscaler.types}
        room: list[tuple[int, int | float]] = []  # on a node of a type, and how many such nodes there may be
        for kind in self.autoscaler.types:
            most = math.inf if kind.max_nodes is None else max(kind.max_nodes, alive[kind.name])
            if most and not kind.resources:
                return None
            if has(labels, kind.labels) and (fits := fitting(bundle, kind.resources)):
                room.append((fits, most))
        of_no_type = [node for node in self.nodes if node.is_head or node.labels.get(TYPE_LABEL) not in names]
        total: int | float = sum(fitting(bundle, node.resources) for node in of_no_type if has(labels, node.labels))
        left: int | float = math.inf if self.autoscaler.max_nodes is None else self.autoscaler.max_nodes
        for fits, most in sorted(room, reverse=True):  # of a limit for all, the nodes with the most room make the most
            total += fits * min(most, left)
            left -= min(most, left)
        return None if math.isinf(total) else int(total)

    def may_have(self, labels: Labels) -> bool:
        """Tells whether a node with these labels is there or, as far as is known, can ever be."""
        kinds = self.autoscaler.types if self.autoscaler else ()
        return any(has(labels, one.labels) for one in self.nodes) or any(
            has(labels, kind.labels) for kind in kinds if kind.max_nodes != 0
        )

    def in_words(self) -> str:
        """What the cluster is, on one line."""
        alive = Counter(size(node.resources) for node in self.nodes)
        told = ", ".join(f"{count} of {each}" if each else f"{count} without work" for each, count in alive.items())
        there = f"alive are {told}" if told else "no node is alive"
        if self.autoscaler is None:
            return f"{there}, and there is no autoscaler"
        return f"{there}; the autoscaler may have {'; '.join(_kinds(self.autoscaler))}"


def capacity() -> Capacity:
    """Asks the cluster that this process is connected to, by a task on the head where this process is elsewhere."""
    nodes = tuple(
        Node(node["NodeID"], node["Resources"], node.get("Labels") or {}, node["NodeManagerAddress"])
        for node in ray.nodes()
        if node["Alive"]
    )
    context = ray.get_runtime_context()
    address, head = context.gcs_address, next((node.node_id for node in nodes if node.is_head), None)
    if head in (None, context.get_node_id()):
        return Capacity(nodes, node_types(address))
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    asked = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(node_types).remote(address)
    try:
        return Capacity(nodes, ray.get(asked, timeout=_ANSWER_TIMEOUT_S))
    except (GetTimeoutError, RayError):
        ray.cancel(asked, force=True)
        return Capacity(nodes, UNKNOWN_NODE_TYPES)


def has(wanted: Labels | None, labels: Labels) -> bool:
    """Tells whether a node with ``labels`` is one that is wanted."""
    return all(labels.get(name) == value for name, value in (wanted or {}).items())


def fitting(bundle: Resources, resources: Resources) -> int:
    """Counts the bundles that fit on one node."""
    # Ray counts resources in ten-thousandths
    return min(int(resources.get(name, 0.0) / needed + 1e-4) for name, needed in bundle.items() if needed)


def size(resources: Resources) -> str:
    """Names GPUs and CPUs for people: ``1 GPU, 4 CPU``; empty where there are none."""
    return ", ".join(f"{resources[name]:g} {name}" for name in ("GPU", "CPU") if resources.get(name))


def _kinds(autoscaler: NodeTypes) -> Iterator[str]:
    for kind in autoscaler.types:
        limit = f"{kind.name}: " + ("any number" if kind.max_nodes is None else str(kind.max_nodes))
        yield f"{limit} of {size(kind.resources) or 'unknown size'}"
    if autoscaler.max_nodes is not None and _exceeds(autoscaler.types, autoscaler.max_nodes):
        yield f"{autoscaler.max_nodes} in all"


def _exceeds(types: tuple[NodeType, ...], most: int) -> bool:
    return any(kind.max_nodes is None for kind in types) or sum(kind.max_nodes or 0 for kind in types) > most


MANIFESTS_LABEL = {"pool": "cpu"}
"""The label of the CPU pool in the manifests of ``cluster/``."""


def data_nodes(scale: ScaleConfig, cluster: Capacity | None = None) -> dict[str, str]:
    """Returns the labels of the nodes that may read, for a label selector; none where any node may.

    By default readers keep to the CPU pool of our manifests, where the cluster has one, or its autoscaler may start
    one: on GPU nodes they would take the CPUs and the memory of training.

    Args:
        cluster: if not given, Ray is asked, which must be initialised.
    """
    if scale.data_label == "auto":
        there = (cluster or capacity()).may_have(MANIFESTS_LABEL)
        return dict(MANIFESTS_LABEL) if there else {}
    name, _, value = scale.data_label.partition("=")
    return {name: value} if name else {}


def worker_resources(scale: ScaleConfig) -> dict[str, float]:
    """What each training worker takes, all of it on one node, by Ray's names."""
    return {"CPU": float(scale.cpus_per_worker)} | ({"GPU": 1.0} if scale.use_gpu else {})


def max_workers(scale: ScaleConfig, cluster: Capacity | None = None) -> int | None:
    """Returns for how many workers the autoscaler may be asked; None where there is none, or it has no limit.

    Args:
        cluster: if not given, Ray is asked, which must be initialised.
    """
    cluster = cluster or capacity()
    return cluster.ever(worker_resources(scale)) if cluster.autoscaler else None


def max_readers(scale: ScaleConfig, cluster: Capacity | None = None) -> int | None:
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
    workers = max_workers(scale, cluster)
    taken = scale.max_workers if workers is None else min(workers, scale.max_workers)
    return max(0, room - taken * scale.cpus_per_worker)

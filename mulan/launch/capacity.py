"""The capacity of a cluster: the nodes that are alive, and those that its autoscaler may start."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.config.sections import ScaleConfig
from mulan.data.pipeline import READER_CPUS
from mulan.private_ray.core import HEAD_RESOURCE, TYPE_LABEL, UNKNOWN_NODE_TYPES, NodeType, NodeTypes, node_types

_ANSWER_TIMEOUT_S = 20.0
"""The time limit for the head's answer about the autoscaler."""

Resources = Mapping[str, float]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Node:
    """A node that is alive."""

    node_id: str
    resources: Resources
    """The node's total resources, whether or not they are in use."""
    labels: Labels
    address: str = ""

    @property
    def is_head(self) -> bool:
        """Returns whether this is the head node, which no autoscaler starts."""
        return HEAD_RESOURCE in self.resources


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster that are alive, and the node types that may join them."""

    nodes: tuple[Node, ...]
    autoscaler: NodeTypes | None = None
    """The node types of the autoscaler; None if the cluster has no autoscaler, so that no node can be added."""

    def fit_now(self, bundle: Resources, labels: Labels | None = None) -> int:
        """Counts the bundles that fit on the alive nodes if nothing else runs there.

        Args:
            bundle: Resources that must be on one node, such as ``{"CPU": 4, "GPU": 1}``; at least one above 0.
            labels: The labels that the node must have.
        """
        return sum(num_fitting(bundle, node.resources) for node in self.nodes if has_labels(labels, node.labels))

    def fit_ever(self, bundle: Resources, labels: Labels | None = None) -> int | None:
        """Counts the bundles that fit once all possible nodes have been started; None if no limit is known.

        Takes the arguments of :meth:`fit_now`.
        """
        if self.autoscaler is None:
            return self.fit_now(bundle, labels)
        alive = Counter(node.labels.get(TYPE_LABEL) for node in self.nodes if not node.is_head)
        names = {kind.name for kind in self.autoscaler.types}
        room: list[
            tuple[int, int | float]
        ] = []  # the bundles on a node of a type, and the maximum number of such nodes
        for kind in self.autoscaler.types:
            max_nodes = math.inf if kind.max_nodes is None else max(kind.max_nodes, alive[kind.name])
            if max_nodes and not kind.resources:
                return None
            if has_labels(labels, kind.labels) and (fits := num_fitting(bundle, kind.resources)):
                room.append((fits, max_nodes))
        untyped = [node for node in self.nodes if node.is_head or node.labels.get(TYPE_LABEL) not in names]
        total: int | float = sum(
            num_fitting(bundle, node.resources) for node in untyped if has_labels(labels, node.labels)
        )
        left: int | float = math.inf if self.autoscaler.max_nodes is None else self.autoscaler.max_nodes
        for fits, max_nodes in sorted(room, reverse=True):  # a common limit yields most with the nodes that hold most
            total += fits * min(max_nodes, left)
            left -= min(max_nodes, left)
        return None if math.isinf(total) else int(total)

    def may_have_node(self, labels: Labels) -> bool:
        """Returns whether a node with these labels is alive or, as far as is known, can be started."""
        kinds = self.autoscaler.types if self.autoscaler else ()
        return any(has_labels(labels, node.labels) for node in self.nodes) or any(
            has_labels(labels, kind.labels) for kind in kinds if kind.max_nodes != 0
        )

    def describe(self) -> str:
        """Describes the cluster in one line."""
        alive = Counter(format_resources(node.resources) for node in self.nodes)
        nodes = ", ".join(
            f"{count} with {each}" if each else f"{count} without CPUs and GPUs" for each, count in alive.items()
        )
        present = f"alive nodes: {nodes}" if nodes else "no node is alive"
        if self.autoscaler is None:
            return f"{present}; there is no autoscaler"
        return f"{present}; the autoscaler may have {'; '.join(_kinds(self.autoscaler))}"


def capacity() -> Capacity:
    """Queries the cluster that this process is connected to; on other nodes than the head, by a task on the head."""
    nodes = tuple(
        Node(node["NodeID"], node["Resources"], node.get("Labels") or {}, node["NodeManagerAddress"])
        for node in ray.nodes()
        if node["Alive"]
    )
    context = ray.get_runtime_context()
    address, head = context.gcs_address, next((node.node_id for node in nodes if node.is_head), None)
    if head in (None, context.get_node_id()):
        return Capacity(nodes, node_types(address))
    on_head = NodeAffinitySchedulingStrategy(head, soft=False)
    answer = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=on_head)(node_types).remote(address)
    try:
        return Capacity(nodes, ray.get(answer, timeout=_ANSWER_TIMEOUT_S))
    except (GetTimeoutError, RayError):
        ray.cancel(answer, force=True)
        return Capacity(nodes, UNKNOWN_NODE_TYPES)


def has_labels(wanted: Labels | None, labels: Labels) -> bool:
    """Returns whether ``labels`` include all of the wanted ones."""
    return all(labels.get(name) == value for name, value in (wanted or {}).items())


def num_fitting(bundle: Resources, resources: Resources) -> int:
    """Returns the number of bundles that fit on one node."""
    return min(_num_fitting(needed, resources.get(name, 0.0), name) for name, needed in bundle.items() if needed)


def _num_fitting(needed: float, available: float, name: str) -> int:
    # Ray counts resources in ten-thousandths
    if name == "GPU" and needed < 1:  # a fraction is one of a single GPU
        return int(available + 1e-4) * int(1 / needed + 1e-4)
    return int(available / needed + 1e-4)


def format_resources(resources: Resources) -> str:
    """Formats GPUs and CPUs as ``1 GPU, 4 CPU``; empty if there are none."""
    return ", ".join(f"{resources[name]:g} {name}" for name in ("GPU", "CPU") if resources.get(name))


def _kinds(autoscaler: NodeTypes) -> Iterator[str]:
    for kind in autoscaler.types:
        limit = f"{kind.name}: " + ("any number" if kind.max_nodes is None else str(kind.max_nodes))
        yield f"{limit} with {format_resources(kind.resources) or 'unknown resources'}"
    if autoscaler.max_nodes is not None and _exceeds(autoscaler.types, autoscaler.max_nodes):
        yield f"{autoscaler.max_nodes} in total"


def _exceeds(types: tuple[NodeType, ...], max_nodes: int) -> bool:
    return any(kind.max_nodes is None for kind in types) or sum(kind.max_nodes or 0 for kind in types) > max_nodes


MANIFESTS_LABEL = {"pool": "cpu"}
"""The label of the CPU pool in the manifests of ``cluster/``."""


def reader_labels(scale: ScaleConfig, cluster: Capacity | None = None) -> dict[str, str]:
    """Returns the label selector of the nodes that may read data; empty if any node may.

    By default, readers run on the CPU pool of the manifests in ``cluster/`` if the cluster has one or its autoscaler
    may start one: on GPU nodes they would take CPUs and memory from training.

    Args:
        cluster: The capacity; if omitted, Ray is queried, which must be initialised.
    """
    if scale.data_label == "auto":
        has_pool = (cluster or capacity()).may_have_node(MANIFESTS_LABEL)
        return dict(MANIFESTS_LABEL) if has_pool else {}
    name, _, value = scale.data_label.partition("=")
    return {name: value} if name else {}


def worker_resources(scale: ScaleConfig) -> dict[str, float]:
    """Returns the resources of one training worker, all of them on one node, by Ray's names."""
    return {"CPU": float(scale.cpus_per_worker)} | ({"GPU": scale.gpus_per_worker} if scale.use_gpu else {})


def max_workers(scale: ScaleConfig, cluster: Capacity | None = None) -> int | None:
    """Returns the number of workers that the autoscaler can make room for; None without autoscaler or limit.

    Args:
        cluster: The capacity; if omitted, Ray is queried, which must be initialised.
    """
    cluster = cluster or capacity()
    return cluster.fit_ever(worker_resources(scale)) if cluster.autoscaler else None


def max_readers(scale: ScaleConfig, cluster: Capacity | None = None) -> int | None:
    """Returns the number of readers, of :data:`mulan.data.pipeline.READER_CPUS` each, for which the autoscaler can make
    room in addition to the workers; None without autoscaler or limit.

    Args:
        cluster: The capacity; if omitted, Ray is queried, which must be initialised.
    """
    cluster = cluster or capacity()
    labels = reader_labels(scale, cluster)
    if not cluster.autoscaler:
        return None
    if labels:
        return cluster.fit_ever({"CPU": READER_CPUS}, labels)
    room = cluster.fit_ever({"CPU": 1.0})  # each CPU that workers leave has room for a reader, wherever it is
    if room is None:
        return None
    workers = max_workers(scale, cluster)
    taken = scale.max_workers if workers is None else min(workers, scale.max_workers)
    return max(0, room - taken * scale.cpus_per_worker)

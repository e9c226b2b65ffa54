"""The private interfaces of Ray Core, its autoscaler and Ray Data that mulan uses."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import PlacementGroupID
from ray._private.state import state
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient
from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

ENVIRONMENT = {
    # a local cluster is preempted only together with its driver, so the watcher process of every run would be useless
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"
}
"""Environment variables of every process of a local cluster."""

PRIVATE_SETTINGS: dict[str, Any] = {
    "_system_config": {
        # at Ray's default of 15, training yields to every other process of the machine; data tasks set their own value
        "worker_niceness": 0,
        # data tasks need an environment of their own, which a prestarted process does not have
        "prestart_worker_first_driver": False,
    }
}
"""Arguments of ``ray.init`` when it starts a local cluster; an existing cluster keeps its own settings."""


HEAD_RESOURCE = "node:__internal_head__"
"""Name of a resource that only the head node has."""
TYPE_LABEL = "ray.io/node-group"
"""Name of the label with the type of a node that an autoscaler has started."""

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Path of a file that contains the namespace of this process's pod."""
_UNLIMITED = -1


@dataclass(frozen=True)
class NodeType:
    """A type of node that an autoscaler can start."""

    name: str
    resources: Mapping[str, float]
    """Resources of each node; empty if they are unknown before a node has started."""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_nodes: int | None = None
    """Maximum number of nodes of this type; None if no limit is known."""


@dataclass(frozen=True)
class NodeTypes:
    """The nodes that an autoscaler can start."""

    types: tuple[NodeType, ...]
    """All types except that of the head, which is never started."""
    max_nodes: int | None = None
    """Maximum number of nodes of all types together; None if no limit is known."""


UNKNOWN_NODE_TYPES = NodeTypes((NodeType("unknown", {}),))
"""Node types of an autoscaler that does not report which nodes it can start."""


def node_types(gcs_address: str) -> NodeTypes | None:
    """Returns the nodes that the cluster's autoscaler can start; None if there is no autoscaler.

    Must be called on the head, where the configuration is, in a process that is connected to Ray.
    """
    managed = state.get_cluster_config()  # only on managed clusters: neither KubeRay nor the launcher writes it
    if managed and managed.node_group_configs:
        return _parse_groups(managed.node_group_configs)
    try:
        if name := os.environ.get("RAY_CLUSTER_NAME"):
            pods = KubernetesHttpApiClient(namespace=_NAMESPACE.read_text(encoding="utf-8").strip())
            return parse_config(_derive_autoscaling_config_from_ray_cr(pods.get(f"rayclusters/{name}")))
        if path := _config_file(gcs_address):
            return parse_config(yaml.safe_load(path.read_text(encoding="utf-8")))
    except Exception:  # any error of Kubernetes or its client, or of a file in an unknown state
        return UNKNOWN_NODE_TYPES
    return None


def parse_config(config: Mapping[str, Any]) -> NodeTypes:
    """Returns the node types of a cluster launcher configuration; Ray converts KubeRay's to the same form."""
    max_workers = config.get("max_workers")
    types = (
        NodeType(
            name,
            {resource: float(count) for resource, count in given.get("resources", {}).items()},
            given.get("labels", {}),
            given.get("max_workers", max_workers),
        )
        for name, given in config["available_node_types"].items()
        if name != config["head_node_type"]
    )
    return NodeTypes(tuple(types), max_workers)


def _parse_groups(groups: Any) -> NodeTypes:
    return NodeTypes(
        tuple(
            NodeType(
                group.name, dict(group.resources), {}, None if group.max_count == _UNLIMITED else int(group.max_count)
            )
            for group in groups
        )
    )


def _config_file(gcs_address: str) -> Path | None:
    """Returns the configuration file of this cluster's autoscaler, if that runs on this machine."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # the process has ended, or belongs to another user
            continue
        if f"--gcs-address={gcs_address}" in words:
            for word in words:
                if word.startswith("--autoscaling-config="):
                    return Path(word.partition("=")[2])
    return None


_ANSWER_TIMEOUT_S = 10


@dataclass(frozen=True)
class Demand:
    """Pending resource demand and node launches of a cluster."""

    reservations: tuple[Mapping[str, float], ...] = ()
    """Resources of each bundle of each pending placement group."""
    starting: Mapping[str, int] = field(default_factory=dict)
    """Number of nodes by type that the autoscaler is starting and that have not joined."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Error of the last failed launch, by node type."""


def demand(gcs_address: str) -> Demand:
    """Returns the pending demand of a cluster.

    Raises:
        ray.exceptions.RpcError: The cluster does not respond.
    """
    return parse_status(get_cluster_status(gcs_address, timeout=_ANSWER_TIMEOUT_S))


def parse_status(status: ClusterStatus) -> Demand:
    """Returns the pending demand in Ray's cluster status."""
    starting = Counter(node.ray_node_type_name for node in status.pending_nodes)
    for launch in status.pending_launches:
        starting[launch.ray_node_type_name] += launch.count
    failed = sorted(status.failed_launches, key=lambda launch: launch.failed_ts_s or 0)
    return Demand(
        tuple(
            dict(same.bundle)
            for group in status.resource_demands.placement_group_demand
            for same in group.bundles_by_count
            for _ in range(same.count)
        ),
        dict(starting),
        {launch.ray_node_type_name: launch.details or "no reason given" for launch in failed},
    )


def remove_orphaned_placement_groups() -> None:
    """Removes orphaned placement groups, which frees their resources."""
    for group in orphaned_placement_groups():
        remove_placement_group(group)


def orphaned_placement_groups() -> list[PlacementGroup]:
    """Returns this job's placement groups, pending ones included, that were created by an actor that is dead.

    Ray removes them only when the job ends. Groups of other jobs, of this job's driver and of living actors, and
    detached groups are never returned.
    """
    job = ray.get_runtime_context().get_job_id()
    rows = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [PlacementGroup(PlacementGroupID(row.placement_group_id)) for row in rows if _is_orphaned(row, job)]


def _is_orphaned(row: PlacementGroupTableData, job: str) -> bool:
    return bool(
        row.creator_job_id.hex() == job
        and row.creator_actor_dead
        and set(row.creator_actor_id) != {0xFF}  # nil: created by the job's driver, which Ray also reports as dead
        and not row.is_detached
        and row.state != PlacementGroupTableData.REMOVED
    )


class SchedulerStepCallback(ExecutionCallback, ABC):
    """A callback after each scheduling step of an execution, in its thread. Each execution creates its own instance."""

    def on_execution_step(self, executor: Any) -> None:
        self.step()

    @abstractmethod
    def step(self) -> None:
        """Runs after a scheduling step. It blocks the scheduler, and an exception ends the execution."""


def add_scheduler_callback(context: DataContext, kind: type[SchedulerStepCallback]) -> None:
    """Registers a callback class, which is instantiated without arguments, for all executions of a context, once."""
    if kind not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(kind)

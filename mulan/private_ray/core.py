"""Ray's core, its autoscaler and Ray Data: what mulan uses of them beyond their public interfaces."""

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
    # this machine is not taken away before its driver is; each run would start a process that watches for that
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"
}
"""Environment variables that every process of the cluster has."""

PRIVATE_SETTINGS: dict[str, Any] = {
    "_system_config": {
        # at Ray's own 15, training stands behind every other process of the machine; data tasks step back by themselves
        "worker_niceness": 0,
        # processes of a job have its environment, which one that was started in advance has not
        "prestart_worker_first_driver": False,
    }
}
"""Arguments of ``ray.init`` where it starts a cluster; one that is joined has its own."""


HEAD_RESOURCE = "node:__internal_head__"
"""A resource that the head alone has."""
TYPE_LABEL = "ray.io/node-group"
"""A label that names the type of a node, where an autoscaler has started it."""

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""File that names the namespace of the pod that this process runs in."""
_UNLIMITED = -1


@dataclass(frozen=True)
class NodeType:
    """Nodes of one kind."""

    name: str
    resources: Mapping[str, float]
    """What each node has; empty where that is not known before there is one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    """Nodes that there may be at a time; None where no limit is known."""


@dataclass(frozen=True)
class NodeTypes:
    """What an autoscaler may start."""

    types: tuple[NodeType, ...]
    """Without that of the head, which is never started."""
    most: int | None = None
    """Nodes of all types together; None where no limit is known."""


UNKNOWN = NodeTypes((NodeType("unknown", {}),))
"""An autoscaler that does not tell what it may start."""


def node_types(gcs_address: str) -> NodeTypes | None:
    """Reads what the cluster's autoscaler may start; None where it has no autoscaler.

    It reads what is to be found on the head alone, and must be called there, in a process that is connected to Ray.
    """
    managed = state.get_cluster_config()  # of managed clusters: neither KubeRay nor the launcher writes it
    if managed and managed.node_group_configs:
        return _of_groups(managed.node_group_configs)
    try:
        if name := os.environ.get("RAY_CLUSTER_NAME"):
            pods = KubernetesHttpApiClient(namespace=_NAMESPACE.read_text(encoding="utf-8").strip())
            return of_config(_derive_autoscaling_config_from_ray_cr(pods.get(f"rayclusters/{name}")))
        if path := _config_file(gcs_address):
            return of_config(yaml.safe_load(path.read_text(encoding="utf-8")))
    except Exception:  # whatever Kubernetes, its client, or a file in an unknown state answers
        return UNKNOWN
    return None


def of_config(config: Mapping[str, Any]) -> NodeTypes:
    """The node types of a configuration of the cluster launcher, which Ray makes of KubeRay's too."""
    most = config.get("max_workers")
    types = (
        NodeType(
            name,
            {resource: float(count) for resource, count in given.get("resources", {}).items()},
            given.get("labels", {}),
            given.get("max_workers", most),
        )
        for name, given in config["available_node_types"].items()
        if name != config["head_node_type"]
    )
    return NodeTypes(tuple(types), most)


def _of_groups(groups: Any) -> NodeTypes:
    return NodeTypes(
        tuple(
            NodeType(
                group.name, dict(group.resources), {}, None if group.max_count == _UNLIMITED else int(group.max_count)
            )
            for group in groups
        )
    )


def _config_file(gcs_address: str) -> Path | None:
    """The file that the autoscaler of this cluster was started with, on this machine."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended, or is none of ours
            continue
        if f"--gcs-address={gcs_address}" in words:
            for word in words:
                if word.startswith("--autoscaling-config="):
                    return Path(word.partition("=")[2])
    return None


_ANSWER_TIMEOUT_S = 10


@dataclass(frozen=True)
class Demand:
    """What waits in a cluster."""

    reservations: tuple[Mapping[str, float], ...] = ()
    """The resources that are to be kept on a node, for each bundle of each placement group that waits."""
    starting: Mapping[str, int] = field(default_factory=dict)
    """How many nodes of each type the autoscaler is about to start, or has started and not seen join."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why nodes of a type could not be started the last time that it was tried, by type."""


def demand(gcs_address: str) -> Demand:
    """Asks the cluster what waits there.

    Raises:
        ray.exceptions.RpcError: it does not answer.
    """
    return of_status(get_cluster_status(gcs_address, timeout=_ANSWER_TIMEOUT_S))


def of_status(status: ClusterStatus) -> Demand:
    """Takes what is needed from Ray's status of a cluster."""
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
        {launch.ray_node_type_name: launch.details or "no reason is told" for launch in failed},
    )


def give_back() -> None:
    """Removes the placement groups that are left behind, so that their resources are free."""
    for group in left_behind():
        remove_placement_group(group)


def left_behind() -> list[PlacementGroup]:
    """Finds this job's placement groups whose maker, an actor, is dead, those included that wait for resources.

    Ray removes them only at the end of the whole job. Groups of other jobs, of this job's driver, and of actors that
    live are never among them, nor are detached ones.
    """
    job = ray.get_runtime_context().get_job_id()
    rows = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [PlacementGroup(PlacementGroupID(row.placement_group_id)) for row in rows if _is_left_behind(row, job)]


def _is_left_behind(row: PlacementGroupTableData, job: str) -> bool:
    return bool(
        row.creator_job_id.hex() == job
        and row.creator_actor_dead
        and set(row.creator_actor_id) != {0xFF}  # no actor: the job's driver, of which Ray says the same
        and not row.is_detached
        and row.state != PlacementGroupTableData.REMOVED
    )


class AtEachStep(ExecutionCallback, ABC):
    """Called after each step of the scheduler of an execution, in its thread. Each execution makes one of its own."""

    def on_execution_step(self, executor: Any) -> None:
        self.step()

    @abstractmethod
    def step(self) -> None:
        """Does what is to be done; the scheduler waits meanwhile, and an exception ends the execution."""


def call_at_each_step(context: DataContext, kind: type[AtEachStep]) -> None:
    """Has executions of this context call an instance of ``kind``, which is made without arguments; once is enough."""
    if kind not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(kind)

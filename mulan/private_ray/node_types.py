"""The kinds of nodes that a cluster's autoscaler may start: Ray has no public place that tells them all."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ray._private.state import state
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

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

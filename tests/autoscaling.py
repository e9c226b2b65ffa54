"""An autoscaled cluster on this machine: a head without CPUs, whose autoscaler starts nodes on demand.

The autoscaler is Ray's own, in the version that runs on clusters; nodes are processes that it starts on this machine by
Ray's fake provider.
"""

import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from mulan.private_ray.core import TYPE_LABEL
from tests.nodes import ENVIRONMENT, Cluster, Node, cluster, free_ports

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
HEAD_TYPE = "ray.head.default"  # the name that the provider uses
HEAD_ID = "f" * 51 + "0" * 5  # the ids of other nodes follow

OBJECT_STORE = 150_000_000
"""Size of the object store of a node in bytes."""


@dataclass(frozen=True)
class NodeType:
    """A type of node, and the maximum number of its nodes."""

    resources: Mapping[str, int]
    labels: Mapping[str, str]
    max_nodes: int

    def in_config(self, name: str) -> dict[str, Any]:
        """Returns the node type in the form of the autoscaler's configuration."""
        return {
            "resources": {**self.resources, "object_store_memory": OBJECT_STORE},
            "labels": {**self.labels, TYPE_LABEL: name},  # set by the environment on other providers
            "node_config": {},
            "min_workers": 0,
            "max_workers": self.max_nodes,
        }


class Autoscaled:
    """A cluster whose nodes are started and removed by its autoscaler."""

    def __init__(self, started: Cluster, config: "_Config") -> None:
        self.address, self.dashboard = started.address, started.dashboard
        self._cluster, self._config = started, config

    def limit(self, node_type: str, max_nodes: int) -> None:
        """Changes the maximum number of nodes of a type; the autoscaler reads its configuration at every update."""
        self._config.types[node_type] = replace(self._config.types[node_type], max_nodes=max_nodes)
        self._config.write()

    def alive(self) -> Counter[str]:
        """Returns the number of alive nodes of each type, without the head."""
        return Counter(node["nodeTypeName"] for node in self._cluster.alive_nodes() if not node["isHeadNode"])


@contextmanager
def autoscaled(types: Mapping[str, NodeType], *, idle_s: float = 15.0) -> Iterator[Autoscaled]:
    """Starts a cluster that has only a head at first.

    Args:
        types: The types of nodes that may be started, by name.
        idle_s: Seconds after which an idle node is removed.
    """
    port, metrics = free_ports(2)
    # where no device is visible, Ray starts no node that is said to have GPUs
    visible = {name: value for name, value in ENVIRONMENT.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment = visible | {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(metrics),
    }
    with tempfile.TemporaryDirectory(prefix="autoscaler") as folder:
        config = _Config(Path(folder, "config.json"), f"127.0.0.1:{port}", dict(types), idle_s)
        config.write()
        with cluster(f"--autoscaling-config={config.file}", port=port, environment=environment) as started:
            try:
                yield Autoscaled(started, config)
            finally:
                _end_nodes(started.head)


@dataclass
class _Config:
    """The configuration file of the autoscaler."""

    file: Path
    address: str
    types: dict[str, NodeType]
    idle_s: float

    def write(self) -> None:
        """Writes the file atomically, since the autoscaler may be reading it."""
        content = {
            "cluster_name": "autoscaled",
            "max_workers": sum(each.max_nodes for each in self.types.values()),
            "idle_timeout_minutes": self.idle_s / 60,
            # as an external provider: the wheel lacks the default configuration of its own fake provider
            "provider": {
                "type": "external",
                "module": PROVIDER,
                "gcs_address": self.address,
                "head_node_id": HEAD_ID,
                "launch_multiple": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "auth": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            **{f"{name}_commands": [] for name in ("initialization", "setup", "head_setup", "worker_setup")},
            **{f"{name}_start_ray_commands": [] for name in ("head", "worker")},
            "head_node_type": HEAD_TYPE,
            "available_node_types": {
                HEAD_TYPE: {"resources": {}, "node_config": {}, "max_workers": 0},
                **{name: each.in_config(name) for name, each in self.types.items()},
            },
        }
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(content))
        os.replace(temporary, self.file)


def _end_nodes(head: Node) -> None:
    """Kills the autoscaler and the nodes that it started, which would outlive the head."""
    for process in head.processes():
        with suppress(psutil.NoSuchProcess):
            if any("autoscaler" in word and word.endswith("monitor.py") for word in process.cmdline()):
                process.suspend()  # so that it does not start another node meanwhile
                for each in (*process.children(recursive=True), process):
                    with suppress(psutil.NoSuchProcess):
                        each.send_signal(signal.SIGKILL)

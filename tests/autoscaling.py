"""An autoscaled cluster on this machine: a head without work, whose autoscaler starts nodes as they are demanded.

The autoscaler is Ray's own, of the version that runs on clusters; the machines are those of Ray's fake provider,
processes that the autoscaler starts here.
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
HEAD_TYPE = "ray.head.default"  # so that provider calls it
HEAD_ID = "f" * 51 + "0" * 5  # nodes that it starts count on from here

OBJECT_STORE = 150_000_000
"""Bytes of a node's."""


@dataclass(frozen=True)
class NodeType:
    """Machines of a kind, and how many of them may be there at a time."""

    resources: Mapping[str, int]
    labels: Mapping[str, str]
    most: int

    def in_config(self, name: str) -> dict[str, Any]:
        """As the autoscaler's file has it."""
        return {
            "resources": {**self.resources, "object_store_memory": OBJECT_STORE},
            "labels": {**self.labels, TYPE_LABEL: name},  # which nodes elsewhere take from their environment
            "node_config": {},
            "min_workers": 0,
            "max_workers": self.most,
        }


class Autoscaled:
    """A cluster whose nodes come and go as its autoscaler has it."""

    def __init__(self, started: Cluster, config: "_Config") -> None:
        self.address, self.dashboard = started.address, started.dashboard
        self._cluster, self._config = started, config

    def limit(self, node_type: str, most: int) -> None:
        """From now on so many nodes of a type may be there: the autoscaler reads its file whenever it looks."""
        self._config.types[node_type] = replace(self._config.types[node_type], most=most)
        self._config.write()

    def alive(self) -> Counter[str]:
        """How many nodes of each type are alive, without the head."""
        return Counter(node["nodeTypeName"] for node in self._cluster.alive_nodes() if not node["isHeadNode"])


@contextmanager
def autoscaled(types: Mapping[str, NodeType], *, idle_s: float = 15.0) -> Iterator[Autoscaled]:
    """A head, alone at first.

    Args:
        types: the kinds of machines that may come, by name.
        idle_s: a node that has done nothing for so long goes.
    """
    port, metrics = free_ports(2)
    environment = ENVIRONMENT | {
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
    """The autoscaler's file."""

    file: Path
    address: str
    types: dict[str, NodeType]
    idle_s: float

    def write(self) -> None:
        """All at once: the autoscaler may be reading."""
        written = {
            "cluster_name": "autoscaled",
            "max_workers": sum(each.most for each in self.types.values()),
            "idle_timeout_minutes": self.idle_s / 60,
            # named as one of elsewhere: for its own the wheel lacks a file of defaults
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
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(written))
        os.replace(beside, self.file)


def _end_nodes(head: Node) -> None:
    """Ends the autoscaler and the nodes that it started: they would stay when the head is told to end."""
    for process in head.processes():
        with suppress(psutil.NoSuchProcess):
            if any("autoscaler" in word and word.endswith("monitor.py") for word in process.cmdline()):
                process.suspend()  # or it would start another node meanwhile
                for each in (*process.children(recursive=True), process):
                    with suppress(psutil.NoSuchProcess):
                        each.send_signal(signal.SIGKILL)

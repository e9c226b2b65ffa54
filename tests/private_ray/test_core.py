"""Tests that the node types of an autoscaler are read from its configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mulan.private_ray import core as module
from mulan.private_ray.core import UNKNOWN_NODE_TYPES, NodeType, NodeTypes, node_types, parse_config

LAUNCHER = Path(__file__).parents[2] / "cluster" / "launcher.yaml"
TYPES = NodeTypes(
    (
        NodeType("cpu", {"CPU": 16.0}, {"pool": "cpu"}, 16),
        NodeType("gpu", {"CPU": 16.0, "GPU": 1.0}, {"pool": "gpu"}, 8),
    ),
    24,
)


@pytest.fixture(autouse=True)
def not_managed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.state, "get_cluster_config", lambda: None)
    monkeypatch.delenv("RAY_CLUSTER_NAME", raising=False)


def test_the_launchers_file_has_all_node_types_but_the_head() -> None:
    parsed = parse_config(yaml.safe_load(LAUNCHER.read_text(encoding="utf-8")))
    assert {kind.name for kind in parsed.types} >= {"cpu", "gpu"}
    assert "head" not in {kind.name for kind in parsed.types}
    assert all(kind.max_nodes is not None and kind.resources["CPU"] > 0 for kind in parsed.types)


def test_a_type_without_a_limit_has_the_common_limit() -> None:
    config = {"head_node_type": "head", "available_node_types": {"head": {}, "cpu": {"resources": {"CPU": 2}}}}
    assert parse_config(config | {"max_workers": 3}) == NodeTypes((NodeType("cpu", {"CPU": 2.0}, {}, 3),), 3)
    assert parse_config(config) == NodeTypes((NodeType("cpu", {"CPU": 2.0}),))


def test_a_cluster_without_autoscaler_has_no_node_types() -> None:
    assert node_types("127.0.0.1:1") is None


@pytest.mark.processes
def test_the_file_of_this_clusters_autoscaler_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "max_workers": 24,
                "head_node_type": "head",
                "available_node_types": {"head": {"resources": {"CPU": 0}, "max_workers": 0}}
                | {
                    kind.name: {"resources": dict(kind.resources), "labels": kind.labels, "max_workers": kind.max_nodes}
                    for kind in TYPES.types
                },
            }
        )
    )
    words = ["--gcs-address=127.0.0.1:6", f"--autoscaling-config={file}"]
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words], stdin=-1, stdout=-1
    ) as autoscaler:
        assert autoscaler.stdout is not None and autoscaler.stdin is not None
        autoscaler.stdout.readline()
        assert node_types("127.0.0.1:6") == TYPES
        assert node_types("127.0.0.1:7") is None
        file.write_text("half a fi")
        assert node_types("127.0.0.1:6") == UNKNOWN_NODE_TYPES
        autoscaler.stdin.close()


def test_node_types_are_unknown_to_a_pod_without_access_to_kubernetes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_CLUSTER_NAME", "run1")
    monkeypatch.setattr(module, "_NAMESPACE", tmp_path / "none")
    assert node_types("127.0.0.1:1") == UNKNOWN_NODE_TYPES

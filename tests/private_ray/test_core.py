"""What an autoscaler may start, from where it is written."""

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


def test_the_launchers_file_tells_all_but_the_head() -> None:
    told = parse_config(yaml.safe_load(LAUNCHER.read_text(encoding="utf-8")))
    assert {kind.name for kind in told.types} >= {"cpu", "gpu"}
    assert "head" not in {kind.name for kind in told.types}
    assert all(kind.max_nodes is not None and kind.resources["CPU"] > 0 for kind in told.types)


def test_a_type_without_a_limit_has_that_of_all() -> None:
    of_all = {"head_node_type": "head", "available_node_types": {"head": {}, "cpu": {"resources": {"CPU": 2}}}}
    assert parse_config(of_all | {"max_workers": 3}) == NodeTypes((NodeType("cpu", {"CPU": 2.0}, {}, 3),), 3)
    assert parse_config(of_all) == NodeTypes((NodeType("cpu", {"CPU": 2.0}),))


def test_without_an_autoscaler_there_are_none() -> None:
    assert node_types("127.0.0.1:1") is None


@pytest.mark.processes
def test_the_file_is_that_of_the_autoscaler_of_this_cluster(tmp_path: Path) -> None:
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
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()", *words], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        assert node_types("127.0.0.1:6") == TYPES
        assert node_types("127.0.0.1:7") is None
        file.write_text("half a fi")
        assert node_types("127.0.0.1:6") == UNKNOWN_NODE_TYPES
        other.stdin.close()


def test_a_pod_that_may_not_ask_kubernetes_knows_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_CLUSTER_NAME", "run1")
    monkeypatch.setattr(module, "_NAMESPACE", tmp_path / "none")
    assert node_types("127.0.0.1:1") == UNKNOWN_NODE_TYPES

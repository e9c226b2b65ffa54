"""Tests the capacity of clusters: of the alive nodes, and of those that an autoscaler may start."""

import pytest

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, Node, capacity, num_fitting, reader_labels
from mulan.private_ray.core import HEAD_RESOURCE, TYPE_LABEL, UNKNOWN_NODE_TYPES, NodeType, NodeTypes

HEAD = Node("0", {HEAD_RESOURCE: 1.0, "CPU": 0.0}, {})
CPU = NodeType("cpu", {"CPU": 14.0}, {"pool": "cpu"}, 16)
GPU = NodeType("gpu", {"CPU": 14.0, "GPU": 2.0}, {"pool": "gpu"}, 8)
WORKER = {"CPU": 4.0, "GPU": 1.0}


def node(kind: NodeType) -> Node:
    return Node("1", kind.resources, {**kind.labels, TYPE_LABEL: kind.name})


@pytest.mark.parametrize(
    ("bundle", "resources", "count"),
    [
        ({"CPU": 4.0}, {"CPU": 14.0}, 3),
        (WORKER, {"CPU": 14.0, "GPU": 2.0}, 2),
        (WORKER, {"CPU": 3.0, "GPU": 2.0}, 0),
        (WORKER, {"CPU": 64.0}, 0),
        ({"CPU": 0.1}, {"CPU": 0.3}, 3),
        ({"CPU": 1.0, "GPU": 0.25}, {"CPU": 64.0, "GPU": 2.0}, 8),
        ({"CPU": 1.0, "GPU": 0.4}, {"CPU": 64.0, "GPU": 2.0}, 4),  # no worker has parts of two GPUs
        ({"CPU": 1.0, "GPU": 0.25}, {"CPU": 3.0, "GPU": 2.0}, 3),
        ({"CPU": 4.0, "GPU": 0.0}, {"CPU": 8.0}, 2),
    ],
)
def test_number_of_bundles_that_fit_on_a_node(
    bundle: dict[str, float], resources: dict[str, float], count: int
) -> None:
    assert num_fitting(bundle, resources) == count


def test_without_autoscaler_only_alive_nodes_count() -> None:
    alone = Capacity((HEAD, node(CPU), node(GPU)))
    assert (alone.fit_now(WORKER), alone.fit_ever(WORKER)) == (2, 2)
    assert alone.fit_ever({"CPU": 4.0}) == 6
    assert alone.fit_ever({"CPU": 4.0}, {"pool": "cpu"}) == 3
    assert "there is no autoscaler" in alone.describe()


def test_nodes_that_an_autoscaler_may_start_count() -> None:
    scaled = Capacity((HEAD,), NodeTypes((CPU, GPU), 24))
    assert (scaled.fit_now(WORKER), scaled.fit_ever(WORKER)) == (0, 16)
    assert scaled.fit_ever({"CPU": 7.0}, {"pool": "cpu"}) == 32
    assert scaled.fit_ever({"CPU": 15.0}) == 0
    assert "cpu: 16 with 14 CPU; gpu: 8 with 2 GPU, 14 CPU" in scaled.describe()


def test_alive_nodes_are_not_counted_twice() -> None:
    scaled = Capacity((HEAD, node(GPU), node(GPU)), NodeTypes((CPU, GPU)))
    assert (scaled.fit_now(WORKER), scaled.fit_ever(WORKER)) == (4, 16)
    gpu_head = Capacity((Node("0", {HEAD_RESOURCE: 1.0, "CPU": 8.0, "GPU": 1.0}, {}),), NodeTypes((GPU,)))
    assert gpu_head.fit_ever(WORKER) == 17


def test_a_common_limit_is_used_for_the_largest_node_type() -> None:
    small = NodeType("small", {"CPU": 4.0, "GPU": 1.0}, {}, 8)
    assert Capacity((HEAD,), NodeTypes((small, GPU), 10)).fit_ever(WORKER) == 8 * 2 + 2
    assert "10 in total" in Capacity((HEAD,), NodeTypes((small, GPU), 10)).describe()


def test_capacity_without_a_limit_is_none() -> None:
    endless = NodeType("gpu", GPU.resources, {}, None)
    assert Capacity((HEAD,), NodeTypes((CPU, endless))).fit_ever(WORKER) is None
    assert Capacity((HEAD,), NodeTypes((CPU, endless), 3)).fit_ever(WORKER) == 6
    assert Capacity((HEAD,), NodeTypes((CPU, endless))).fit_ever({"CPU": 15.0}) == 0
    assert Capacity((HEAD,), UNKNOWN_NODE_TYPES).fit_ever({"CPU": 1000.0}) is None


@pytest.mark.parametrize(
    ("cluster", "labels"),
    [
        (Capacity((HEAD, node(GPU))), {}),
        (Capacity((HEAD, node(CPU))), {"pool": "cpu"}),
        (Capacity((HEAD, node(GPU)), NodeTypes((CPU, GPU))), {"pool": "cpu"}),
        (Capacity((HEAD, node(GPU)), NodeTypes((NodeType("cpu", CPU.resources, CPU.labels, 0), GPU))), {}),
        (Capacity((HEAD, node(GPU)), UNKNOWN_NODE_TYPES), {}),
    ],
)
def test_readers_run_on_the_cpu_pool_if_it_exists_or_may_be_started(cluster: Capacity, labels: dict[str, str]) -> None:
    assert reader_labels(ScaleConfig(), cluster) == labels
    assert reader_labels(ScaleConfig(data_label="zone=a"), cluster) == {"zone": "a"}
    assert reader_labels(ScaleConfig(data_label=""), cluster) == {}


def test_a_local_ray_has_the_resources_that_it_was_started_with(ray_cluster: None) -> None:
    local = capacity()
    assert local.autoscaler is None
    assert local.fit_ever({"CPU": 1.0}) == local.fit_now({"CPU": 1.0}) >= 4
    assert local.fit_ever({"CPU": 1.0, "GPU": 64.0}) == 0

"""Tests the limits on workers and readers that an autoscaler can provide."""

import pytest

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, Node, max_readers, max_workers
from mulan.private_ray.core import HEAD_RESOURCE, NodeType, NodeTypes

HEAD = Node("head", {HEAD_RESOURCE: 1.0}, {})
CPU_POOL = NodeType("cpu", {"CPU": 2.0}, {"pool": "cpu"}, max_nodes=3)
GPU_POOL = NodeType("gpu", {"CPU": 8.0, "GPU": 1.0}, {"pool": "gpu"}, max_nodes=2)


def scale(**changes: object) -> ScaleConfig:
    return ScaleConfig.model_validate(
        {"workers": (1, 4), "use_gpu": True, "cpus_per_worker": 6, "data_cpus": 8} | changes
    )


def pools(*types: NodeType) -> Capacity:
    return Capacity((HEAD,), NodeTypes(types))


def test_limits_are_those_of_the_nodes_that_may_be_started() -> None:
    assert max_workers(scale(), pools(CPU_POOL, GPU_POOL)) == 2
    assert max_readers(scale(), pools(CPU_POOL, GPU_POOL)) == 9  # three on the two CPUs of each node


@pytest.mark.parametrize(("workers", "readers"), [(1, 10), (2, 4), ((1, 4), 4)])
def test_readers_that_share_nodes_with_workers_have_the_remaining_cpus(workers: object, readers: int) -> None:
    assert max_readers(scale(workers=workers), pools(GPU_POOL)) == readers


def test_there_is_no_limit_without_an_autoscaler_or_if_it_has_none() -> None:
    without_autoscaler = Capacity((HEAD,))
    unlimited = pools(NodeType("cpu", {"CPU": 2.0}, {"pool": "cpu"}), NodeType("gpu", {"CPU": 8.0, "GPU": 1.0}))
    for cluster in (without_autoscaler, unlimited):
        assert max_workers(scale(), cluster) is None
        assert max_readers(scale(), cluster) is None

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


def test_as_many_as_the_nodes_have_room_for_that_may_come() -> None:
    assert max_workers(scale(), pools(CPU_POOL, GPU_POOL)) == 2
    assert max_readers(scale(), pools(CPU_POOL, GPU_POOL)) == 6


@pytest.mark.parametrize(("workers", "readers"), [(1, 10), (2, 4), ((1, 4), 4)])
def test_readers_have_what_workers_leave_where_they_share_nodes(workers: object, readers: int) -> None:
    assert max_readers(scale(workers=workers), pools(GPU_POOL)) == readers


def test_no_limit_where_none_is_known_or_machines_join_by_hand() -> None:
    by_hand = Capacity((HEAD,))
    unlimited = pools(NodeType("cpu", {"CPU": 2.0}, {"pool": "cpu"}), NodeType("gpu", {"CPU": 8.0, "GPU": 1.0}))
    for cluster in (by_hand, unlimited):
        assert max_workers(scale(), cluster) is None
        assert max_readers(scale(), cluster) is None

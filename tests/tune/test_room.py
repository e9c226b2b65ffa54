"""Tests how many trials run at once on a cluster, and where their drivers run."""

from typing import Any

import pytest
import ray
from ray.util import placement_group_table
from ray.util.placement_group import remove_placement_group

from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, Node
from mulan.private_ray.core import HEAD_RESOURCE, UNKNOWN_NODE_TYPES, NodeType, NodeTypes
from tune.room import driver_resources, trials_at_once


def cluster(*nodes: dict[str, float], autoscaler: NodeTypes | None = None) -> Capacity:
    """Returns the capacity of a head without CPUs and of these nodes."""
    alive = [{HEAD_RESOURCE: 1.0}, *nodes]
    return Capacity(tuple(Node(str(number), resources, {}) for number, resources in enumerate(alive)), autoscaler)


def one_pool(count: int | None, **resources: float) -> NodeTypes:
    return NodeTypes((NodeType("pool", resources, max_nodes=count),))


ON_GPUS: dict[str, Any] = {"use_gpu": True, "workers": 4}


@pytest.mark.parametrize(
    ("scale", "capacity", "trials"),
    [
        ({"workers": 2, "data_cpus": 1}, cluster({"CPU": 3.0}), 1),
        ({"workers": 2, "data_cpus": 1}, cluster({"CPU": 7.0}), 2),
        ({"workers": 2, "data_cpus": 2}, cluster(autoscaler=one_pool(5, CPU=4.0)), 5),
        ({"workers": 2, "cpus_per_worker": 3}, cluster(autoscaler=one_pool(4, CPU=5.0)), 2),  # one worker per node
        ({"workers": 8, "data_cpus": 8}, cluster(), 1),
        ({"workers": 2, "data_cpus": 2}, cluster({"CPU": 8.0}, autoscaler=one_pool(None, CPU=4.0)), 2),
        ({"workers": 2, "data_cpus": 2}, cluster({"CPU": 8.0}, autoscaler=UNKNOWN_NODE_TYPES), 2),
        (ON_GPUS | {"cpus_per_worker": 4}, cluster(autoscaler=one_pool(4, CPU=96.0, GPU=8.0)), 8),
        (ON_GPUS | {"cpus_per_worker": 8}, cluster(autoscaler=one_pool(4, CPU=32.0, GPU=8.0)), 4),
        (
            {"use_gpu": True, "workers": 1, "gpus_per_worker": 0.25},
            cluster(autoscaler=one_pool(2, CPU=96.0, GPU=8.0)),
            64,
        ),
        ({"use_gpu": True, "workers": 1, "gpus_per_worker": 0.3}, cluster({"CPU": 16.0, "GPU": 2.0}), 6),
        (ON_GPUS, cluster({"CPU": 64.0}, *[{"CPU": 16.0, "GPU": 1.0}] * 9), 2),
    ],
)
def test_trials_at_once(scale: dict[str, Any], capacity: Capacity, trials: int) -> None:
    assert trials_at_once(ScaleConfig(**scale), capacity) == trials


def test_a_driver_runs_on_the_node_of_this_process_without_a_cpu(ray_cluster: None) -> None:
    resources = driver_resources()
    assert "CPU" not in resources.required_resources
    group = resources.to_placement_group()
    assert group.wait(30)
    assert placement_group_table(group)["bundles_to_node_id"] == {0: ray.get_runtime_context().get_node_id()}
    remove_placement_group(group)

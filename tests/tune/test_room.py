"""How many trials run at once on which nodes, and where their drivers run."""

import pytest
import ray
from ray.util import placement_group_table
from ray.util.placement_group import remove_placement_group

from mulan.config.sections import Scale
from tune.room import Nodes, beside_this_process, nodes_now, trials_at_once

HEAD = Nodes({"node:10.0.0.1": 1.0, "memory": 1e9})


@pytest.mark.parametrize(
    ("scale", "nodes", "trials"),
    [
        ({"workers": 2, "data_cpus": 1}, [Nodes({"CPU": 3.0})], 1),
        ({"workers": 2, "data_cpus": 1}, [Nodes({"CPU": 7.0})], 2),
        ({"workers": 2, "data_cpus": 2}, [HEAD, Nodes({"CPU": 4.0}, 5)], 5),
        ({"workers": 2, "cpus_per_worker": 3, "data_cpus": 1}, [Nodes({"CPU": 5.0}, 4)], 2),  # one worker a node
        ({"workers": 8, "data_cpus": 8}, [HEAD], 1),
        ({"workers": 4, "use_gpu": True, "cpus_per_worker": 4}, [HEAD, Nodes({"CPU": 96.0, "GPU": 8.0}, 4)], 8),
        ({"workers": 4, "use_gpu": True, "cpus_per_worker": 8}, [Nodes({"CPU": 32.0, "GPU": 8.0}, 4)], 4),
        ({"workers": 4, "use_gpu": True}, [Nodes({"CPU": 64.0}, 9), Nodes({"CPU": 16.0, "GPU": 1.0}, 9)], 2),
    ],
)
def test_trials_at_once(scale: dict[str, int], nodes: list[Nodes], trials: int) -> None:
    assert trials_at_once(Scale(**scale), nodes) == trials


def test_a_driver_takes_no_cpu_of_the_node_of_this_process(ray_cluster: None) -> None:
    assert sum(node.resources.get("CPU", 0) for node in nodes_now()) == ray.cluster_resources()["CPU"]
    asked = beside_this_process()
    assert "CPU" not in asked.required_resources
    group = asked.to_placement_group()
    assert group.wait(30)
    assert placement_group_table(group)["bundles_to_node_id"] == {0: ray.get_runtime_context().get_node_id()}
    remove_placement_group(group)

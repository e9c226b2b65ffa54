"""What waits in a cluster."""

import ray
from ray.autoscaler.v2.schema import ClusterStatus, LaunchRequest, NodeInfo
from ray.util.placement_group import placement_group, remove_placement_group

from mulan.private_ray.core import Demand, demand, parse_status
from tests.waiting import wait_until


def launch(count: int, *, failed: int | None = None, why: str | None = None) -> LaunchRequest:
    state = LaunchRequest.Status.PENDING if failed is None else LaunchRequest.Status.FAILED
    return LaunchRequest("p3.2xlarge", "gpu", count, state, 1, failed, why)


def test_nodes_that_start_are_counted_from_the_request_on() -> None:
    booting = [NodeInfo("p3.2xlarge", "gpu", "i-1", ""), NodeInfo("m5.large", "cpu", "i-2", "")]
    status = ClusterStatus(pending_nodes=booting, pending_launches=[launch(3)])
    assert parse_status(status) == Demand(starting={"gpu": 4, "cpu": 1})


def test_of_failed_starts_the_newest_reason_is_told() -> None:
    failed = [launch(1, failed=9, why="no capacity in zone a"), launch(1, failed=3, why="quota")]
    assert parse_status(ClusterStatus(failed_launches=failed)).failed == {"gpu": "no capacity in zone a"}
    assert parse_status(ClusterStatus(failed_launches=[launch(1, failed=1)])).failed == {"gpu": "no reason given"}


def test_what_a_placement_group_waits_for_is_told(ray_cluster: None) -> None:
    bundle = {"CPU": 1.0, "GPU": 977.0}
    address = ray.get_runtime_context().gcs_address
    group = placement_group([bundle, bundle])
    wait_until(lambda: demand(address).reservations.count(bundle) == 2, what="both bundles are asked for")
    remove_placement_group(group)
    wait_until(lambda: bundle not in demand(address).reservations, what="neither is any more")

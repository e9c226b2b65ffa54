"""Tests the pending demand and node launches of a cluster."""

import ray
from ray.autoscaler.v2.schema import ClusterStatus, LaunchRequest, NodeInfo
from ray.util.placement_group import placement_group, remove_placement_group

from mulan.private_ray.core import Demand, demand, parse_status
from tests.waiting import wait_until


def launch(count: int, *, failed: int | None = None, error: str | None = None) -> LaunchRequest:
    state = LaunchRequest.Status.PENDING if failed is None else LaunchRequest.Status.FAILED
    return LaunchRequest("p3.2xlarge", "gpu", count, state, 1, failed, error)


def test_requested_and_booting_nodes_are_counted_as_starting() -> None:
    booting = [NodeInfo("p3.2xlarge", "gpu", "i-1", ""), NodeInfo("m5.large", "cpu", "i-2", "")]
    status = ClusterStatus(pending_nodes=booting, pending_launches=[launch(3)])
    assert parse_status(status) == Demand(starting={"gpu": 4, "cpu": 1})


def test_the_error_of_the_newest_failed_launch_is_returned() -> None:
    failed = [launch(1, failed=9, error="no capacity in zone a"), launch(1, failed=3, error="quota")]
    assert parse_status(ClusterStatus(failed_launches=failed)).failed == {"gpu": "no capacity in zone a"}
    assert parse_status(ClusterStatus(failed_launches=[launch(1, failed=1)])).failed == {"gpu": "no reason given"}


def test_the_bundles_of_a_pending_placement_group_are_returned(ray_cluster: None) -> None:
    bundle = {"CPU": 1.0, "GPU": 977.0}
    address = ray.get_runtime_context().gcs_address
    group = placement_group([bundle, bundle])
    wait_until(lambda: demand(address).reservations.count(bundle) == 2, what="the demand for both bundles")
    remove_placement_group(group)
    wait_until(lambda: bundle not in demand(address).reservations, what="the end of the demand")

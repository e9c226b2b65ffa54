"""Tests that orphaned placement groups are found and removed, and no others."""

from typing import Any

import pytest
import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import placement_group, remove_placement_group

from mulan.private_ray.core import _is_orphaned, orphaned_placement_groups, remove_orphaned_placement_groups
from tests.waiting import wait_until

OURS, OTHERS = bytes.fromhex("01000000"), bytes.fromhex("02000000")
ORPHANED = {"creator_job_id": OURS, "creator_actor_id": b"\x12" * 16, "creator_actor_dead": True}


@pytest.mark.parametrize(
    ("row", "orphaned"),
    [
        ({}, True),
        ({"state": PlacementGroupTableData.PENDING}, True),
        ({"state": PlacementGroupTableData.RESCHEDULING}, True),
        ({"state": PlacementGroupTableData.REMOVED}, False),
        ({"creator_actor_dead": False}, False),
        ({"creator_job_id": OTHERS}, False),
        ({"creator_actor_id": b"\xff" * 16}, False),  # created by the driver of the job
        ({"is_detached": True}, False),
    ],
    ids=str,
)
def test_groups_of_dead_actors_of_this_job_are_orphaned(row: dict[str, Any], orphaned: bool) -> None:
    whole = {"state": PlacementGroupTableData.CREATED, **ORPHANED, **row}
    assert _is_orphaned(PlacementGroupTableData(**whole), OURS.hex()) is orphaned


class Creator:
    def create(self, cpus: float, lifetime: str | None = None) -> str:
        self.group = placement_group([{"CPU": cpus}], lifetime=lifetime)
        return self.group.id.hex()


class ActorWithCreator:
    """Creates a group in an actor of its own, like the controller of a run."""

    def create(self, cpus: float) -> str:
        self.creator = ray.remote(Creator).options(num_cpus=0).remote()
        return ray.get(self.creator.create.remote(cpus))


def test_only_groups_of_dead_actors_are_found_and_removed(ray_cluster: None) -> None:
    dying, living, parent = (
        ray.remote(kind).options(num_cpus=0).remote() for kind in (Creator, Creator, ActorWithCreator)
    )
    expected = ray.get([dying.create.remote(0.01), dying.create.remote(1e6), parent.create.remote(0.01)])
    ray.get([living.create.remote(0.01), dying.create.remote(0.01, "detached")])
    own = placement_group([{"CPU": 0.01}])
    assert not orphaned_placement_groups()
    for each in (dying, parent):
        ray.kill(each)
    wait_until(lambda: len(orphaned_placement_groups()) == 3, what="the groups of dead actors")
    assert {group.id.hex() for group in orphaned_placement_groups()} == set(expected)
    remove_orphaned_placement_groups()
    remove_placement_group(own)
    wait_until(lambda: not orphaned_placement_groups(), what="their removal")

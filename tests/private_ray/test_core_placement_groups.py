"""Which reservations are kept for nobody: none of anybody else's are taken for such."""

from typing import Any

import pytest
import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import placement_group, remove_placement_group

from mulan.private_ray.core import _is_orphaned, orphaned_placement_groups, remove_orphaned_placement_groups
from tests.waiting import wait_until

OURS, OTHERS = bytes.fromhex("01000000"), bytes.fromhex("02000000")
LEFT = {"creator_job_id": OURS, "creator_actor_id": b"\x12" * 16, "creator_actor_dead": True}


@pytest.mark.parametrize(
    ("row", "left"),
    [
        ({}, True),
        ({"state": PlacementGroupTableData.PENDING}, True),
        ({"state": PlacementGroupTableData.RESCHEDULING}, True),
        ({"state": PlacementGroupTableData.REMOVED}, False),
        ({"creator_actor_dead": False}, False),
        ({"creator_job_id": OTHERS}, False),
        ({"creator_actor_id": b"\xff" * 16}, False),  # the driver of the job, which has no actor that could live
        ({"is_detached": True}, False),
    ],
    ids=str,
)
def test_what_is_left_behind(row: dict[str, Any], left: bool) -> None:
    whole = {"state": PlacementGroupTableData.CREATED, **LEFT, **row}
    assert _is_orphaned(PlacementGroupTableData(**whole), OURS.hex()) is left


class Maker:
    def make(self, cpus: float, lifetime: str | None = None) -> str:
        self.group = placement_group([{"CPU": cpus}], lifetime=lifetime)
        return self.group.id.hex()


class MakersMaker:
    """The controller of a run is an actor of an actor."""

    def make(self, cpus: float) -> str:
        self.maker = ray.remote(Maker).options(num_cpus=0).remote()
        return ray.get(self.maker.make.remote(cpus))


def test_groups_of_actors_that_died_are_found_and_no_others(ray_cluster: None) -> None:
    dying, living, above = (ray.remote(kind).options(num_cpus=0).remote() for kind in (Maker, Maker, MakersMaker))
    made = ray.get([dying.make.remote(0.01), dying.make.remote(1e6), above.make.remote(0.01)])
    ray.get([living.make.remote(0.01), dying.make.remote(0.01, "detached")])
    own = placement_group([{"CPU": 0.01}])
    assert not orphaned_placement_groups()
    for each in (dying, above):
        ray.kill(each)
    wait_until(lambda: len(orphaned_placement_groups()) == 3, what="the groups of dead actors")
    assert {group.id.hex() for group in orphaned_placement_groups()} == set(made)
    remove_orphaned_placement_groups()
    remove_placement_group(own)
    wait_until(lambda: not orphaned_placement_groups(), what="their removal")

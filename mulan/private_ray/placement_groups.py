"""Reservations of resources (placement groups) that are kept for nobody."""

import ray
from ray import PlacementGroupID
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


def give_back() -> None:
    """Removes the placement groups that are left behind, so that their resources are free."""
    for group in left_behind():
        remove_placement_group(group)


def left_behind() -> list[PlacementGroup]:
    """Finds this job's placement groups whose maker, an actor, is dead, those included that wait for resources.

    Ray removes them only at the end of the whole job. Groups of other jobs, of this job's driver, and of actors that
    live are never among them, nor are detached ones.
    """
    job = ray.get_runtime_context().get_job_id()
    rows = map(PlacementGroupTableData.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [PlacementGroup(PlacementGroupID(row.placement_group_id)) for row in rows if _is_left_behind(row, job)]


def _is_left_behind(row: PlacementGroupTableData, job: str) -> bool:
    return bool(
        row.creator_job_id.hex() == job
        and row.creator_actor_dead
        and set(row.creator_actor_id) != {0xFF}  # no actor: the job's driver, of which Ray says the same
        and not row.is_detached
        and row.state != PlacementGroupTableData.REMOVED
    )

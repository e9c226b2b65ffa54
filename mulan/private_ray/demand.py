"""What a cluster is asked for and does not have yet, and what its autoscaler does about it, from Ray's own status."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status

_ANSWER_TIMEOUT_S = 10


@dataclass(frozen=True)
class Demand:
    """What waits in a cluster."""

    reservations: tuple[Mapping[str, float], ...] = ()
    """The resources that are to be kept on a node, for each bundle of each placement group that waits."""
    starting: Mapping[str, int] = field(default_factory=dict)
    """How many nodes of each type the autoscaler is about to start, or has started and not seen join."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why nodes of a type could not be started the last time that it was tried, by type."""


def demand(gcs_address: str) -> Demand:
    """Asks the cluster what waits there.

    Raises:
        ray.exceptions.RpcError: it does not answer.
    """
    return of_status(get_cluster_status(gcs_address, timeout=_ANSWER_TIMEOUT_S))


def of_status(status: ClusterStatus) -> Demand:
    """Takes what is needed from Ray's status of a cluster."""
    starting = Counter(node.ray_node_type_name for node in status.pending_nodes)
    for launch in status.pending_launches:
        starting[launch.ray_node_type_name] += launch.count
    failed = sorted(status.failed_launches, key=lambda launch: launch.failed_ts_s or 0)
    return Demand(
        tuple(
            dict(same.bundle)
            for group in status.resource_demands.placement_group_demand
            for same in group.bundles_by_count
            for _ in range(same.count)
        ),
        dict(starting),
        {launch.ray_node_type_name: launch.details or "no reason is told" for launch in failed},
    )

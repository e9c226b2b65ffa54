"""The nodes of a cluster that read and decode."""

from mulan.config.sections import Scale
from mulan.training.capacity import Capacity, capacity

MANIFESTS_LABEL = {"pool": "cpu"}
"""The label of the CPU pool in the manifests of ``cluster/``."""


def data_nodes(scale: Scale, cluster: Capacity | None = None) -> dict[str, str]:
    """Returns the labels of the nodes that may read, for a label selector; none where any node may.

    By default readers keep to the CPU pool of our manifests, where the cluster has one, or its autoscaler may start
    one: on GPU nodes they would take the CPUs and the memory of training.

    Args:
        cluster: if not given, Ray is asked, which must be initialised.
    """
    if scale.data_label == "auto":
        there = (cluster or capacity()).may_have(MANIFESTS_LABEL)
        return dict(MANIFESTS_LABEL) if there else {}
    name, _, value = scale.data_label.partition("=")
    return {name: value} if name else {}

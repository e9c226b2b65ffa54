"""The nodes of a cluster that read and decode."""

import ray

from mulan.config.sections import Scale

MANIFESTS_LABEL = {"pool": "cpu"}
"""The label of the CPU pool in the manifests of ``cluster/``."""


def data_nodes(scale: Scale) -> dict[str, str]:
    """Returns the labels of the nodes that may read, for a label selector; none where any node may.

    By default readers keep to the CPU pool of our manifests, where the cluster has one: on GPU nodes they would take
    the CPUs and the memory of training. Ray must be initialised.
    """
    if scale.data_label == "auto":
        (name, value), *_ = MANIFESTS_LABEL.items()
        there = any(node["Alive"] and node.get("Labels", {}).get(name) == value for node in ray.nodes())
        return dict(MANIFESTS_LABEL) if there else {}
    name, _, value = scale.data_label.partition("=")
    return {name: value} if name else {}

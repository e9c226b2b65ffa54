"""The requirements of ``mulan/private_ray`` on Ray's autoscaler."""

from typing import Any

from ray.autoscaler.v2 import schema
from ray.core.generated import autoscaler_pb2

from mulan.private_ray import core
from tests.private_ray.contract import Differs, Need, mentions, takes

KUBERAY = "ray.autoscaler._private.kuberay"
WITHOUT = "a job waits forever for nodes that its cluster can never have"

RAY_CLUSTER: dict[str, Any] = {
    "metadata": {"name": "run1", "namespace": "default"},
    "spec": {
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},
            "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "4", "memory": "24Gi"}}}]}},
        },
        "workerGroupSpecs": [
            {
                "groupName": "gpu",
                "minReplicas": 0,
                "maxReplicas": 8,
                "labels": {"pool": "gpu"},
                "rayStartParams": {},
                "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "14", "nvidia.com/gpu": "1"}}}]}},
            }
        ],
    },
}
"""A RayCluster in the form that Kubernetes returns."""


def returns_a_configuration(derive: Any) -> None:
    types = core.parse_config(derive(RAY_CLUSTER))
    if types != core.NodeTypes((core.NodeType("gpu", {"CPU": 14.0, "GPU": 1.0}, {"pool": "gpu"}, 8),), 8):
        raise Differs(f"returns {types} for a RayCluster with 8 pods of 14 CPUs and a GPU")


def queries_kubernetes(client: Any) -> None:
    takes(client.__init__, "self", "namespace")
    takes(client.get, "self", "path", exactly=True)


def names_clouds(providers: Any) -> None:
    if missing := {"aws", "azure", "gcp"} - set(providers):
        raise Differs(f"lacks {', '.join(sorted(missing))}")


def is_less_verbose(logger: Any) -> None:
    takes(logger.configure, "verbosity")


def has_groups(get: Any) -> None:
    takes(get, exactly=True)
    fields = {field.name for field in autoscaler_pb2.NodeGroupConfig.DESCRIPTOR.fields}
    if missing := {"name", "resources", "max_count"} - fields:
        raise Differs(f"returns groups without {' and '.join(sorted(missing))}")


def passes_its_file(start: Any) -> None:
    for word in ("--autoscaling-config=", "--gcs-address="):
        mentions(start, word, f"does not pass {word} to the autoscaler's process")


def returns_the_demand(get: Any) -> None:
    takes(get, "gcs_address", "timeout")
    for kind, needed in {
        schema.ClusterStatus: ("pending_nodes", "pending_launches", "failed_launches", "resource_demands"),
        schema.LaunchRequest: ("ray_node_type_name", "count", "details", "failed_ts_s"),
        schema.NodeInfo: ("ray_node_type_name",),
        schema.ResourceDemandSummary: ("placement_group_demand",),
        schema.PlacementGroupResourceDemand: ("bundles_by_count",),
        schema.ResourceRequestByCount: ("bundle", "count"),
    }.items():
        takes(kind, *needed)


def is_the_resource_of_the_head(resource: str) -> None:
    if resource != core.HEAD_RESOURCE:
        raise Differs(f"is {resource}")


def is_the_label_of_the_type(label: str) -> None:
    if label != core.TYPE_LABEL:
        raise Differs(f"is {label}")


NODE_NEEDS = [
    Need(
        f"{KUBERAY}.autoscaling_config:_derive_autoscaling_config_from_ray_cr",
        "core",
        f"on Kubernetes {WITHOUT}",
        returns_a_configuration,
    ),
    Need(
        f"{KUBERAY}.node_provider:KubernetesHttpApiClient",
        "core",
        f"on Kubernetes {WITHOUT}",
        queries_kubernetes,
    ),
    Need("ray._private.state:state.get_cluster_config", "core", f"on a managed cluster {WITHOUT}", has_groups),
    Need("ray._private.services:start_monitor", "core", f"on machines of the launcher {WITHOUT}", passes_its_file),
    Need(
        "ray.autoscaler.v2.sdk:get_cluster_status",
        "core",
        "a job does not report why it waits",
        returns_the_demand,
    ),
    Need(
        "ray._common.constants:HEAD_NODE_RESOURCE_NAME",
        "core",
        "the nodes that the autoscaler may start are unknown, since the head is not recognized",
        is_the_resource_of_the_head,
    ),
    Need(
        "ray._raylet:RAY_NODE_GROUP_KEY",
        "core",
        "alive nodes are counted again as nodes that may be started",
        is_the_label_of_the_type,
    ),
    Need(
        "ray.autoscaler._private.providers:_NODE_PROVIDERS",
        "launcher",
        "a launcher file with an unknown provider is refused by a traceback",
        names_clouds,
    ),
    Need(
        "ray.autoscaler._private.cli_logger:cli_logger",
        "launcher",
        "a launcher file without credentials prints details of Ray before the error",
        is_less_verbose,
    ),
]

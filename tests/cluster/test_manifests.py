"""Tests the launcher files and the RayJob without a cloud: by Ray's own checks, a mock of EC2, and KubeRay's schema."""

import copy
import importlib.metadata
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import ray.autoscaler
import yaml
from moto import mock_aws
from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import InstanceReconcileConfig

from mulan.config.errors import USER_ERROR, MulanError
from mulan.recipes.registry import load_recipe
from tests.cluster.kuberay import SCHEMA

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCKERFILE = CLUSTER / "Dockerfile"
LAUNCHERS = ("launcher.yaml", "launcher-gcp.yaml")
POOLS = ("cpu", "gpu")
TYPES = {"cpu": "cpu", "gpu": "gpu", "gpu-on-demand": "gpu"}
"""Node types other than the head, with their pools."""
SPOT, ON_DEMAND = "SPOT", "ON_DEMAND"

Manifest = dict[str, Any]


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> Manifest:
    return manifest(request.param)


@pytest.fixture
def aws_launcher() -> Manifest:
    return manifest("launcher.yaml")


@pytest.fixture
def rayjob() -> Manifest:
    """Returns the manifest with the name of a run."""
    return manifest("rayjob.yaml", run="run1")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Mocks an empty AWS account; the key that the launcher creates is written to a temporary home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def manifest(file: str, run: str = "") -> Manifest:
    return yaml.safe_load(re.sub("RUN", run, (CLUSTER / file).read_text(encoding="utf-8")))


def groups(rayjob: Manifest) -> list[Manifest]:
    """Returns the group of the head and those of the workers."""
    return [rayjob["spec"]["rayClusterSpec"]["headGroupSpec"], *worker_groups(rayjob).values()]


def pods(rayjob: Manifest) -> list[Manifest]:
    """Returns the specifications of all pods: the submitter, the head, and the workers."""
    templates = [rayjob["spec"]["submitterPodTemplate"], *(group["template"] for group in groups(rayjob))]
    return [template["spec"] for template in templates]


def worker_groups(rayjob: Manifest) -> dict[str, Manifest]:
    return {group["groupName"]: group for group in rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]}


def only_container(group: Manifest) -> Manifest:
    (container,) = group["template"]["spec"]["containers"]
    return container


def is_spot(node_config: Manifest) -> bool:
    """Returns whether a node of either launcher is a spot machine."""
    market = node_config.get("InstanceMarketOptions", {}).get("MarketType", "")
    return market == "spot" or node_config.get("scheduling", {}).get("provisioningModel") == SPOT


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


class TestLauncher:
    def test_satisfies_rays_schema(self, launcher: Manifest) -> None:
        schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
        jsonschema.validate(launcher, schema)

    def test_passes_the_preparation_and_validation_of_ray_up(self, launcher: Manifest) -> None:
        prepared = prepare_config(copy.deepcopy(launcher))
        validate_config(prepared)
        assert prepared["max_workers"] == sum(launcher["available_node_types"][name]["max_workers"] for name in TYPES)
        assert prepared["setup_commands"] == []  # Ray's defaults would install into the container

    def test_declared_resources_are_those_of_the_machines(self, aws_launcher: Manifest, aws: None) -> None:
        undeclared = copy.deepcopy(aws_launcher)
        for node_type in undeclared["available_node_types"].values():
            node_type["resources"] = {}
        filled = AWSNodeProvider.fillout_available_node_types_resources(undeclared)["available_node_types"]
        for name in TYPES:
            declared = aws_launcher["available_node_types"][name]["resources"]
            assert declared == {resource: filled[name]["resources"][resource] for resource in declared}
        assert "GPU" in filled["gpu"]["resources"]

    def test_the_head_has_no_cpus(self, launcher: Manifest) -> None:
        assert launcher["available_node_types"][launcher["head_node_type"]]["resources"] == {"CPU": 0}

    def test_pools_scale_from_zero_and_have_their_label(self, launcher: Manifest) -> None:
        for name, pool in TYPES.items():
            node_type = launcher["available_node_types"][name]
            assert node_type["min_workers"] == 0
            assert node_type["labels"] == {"pool": pool}
            assert (node_type["max_workers"] > 0) == (name in POOLS)

    def test_gpus_on_demand_equal_those_on_spot_with_lower_priority(self, launcher: Manifest) -> None:
        spot, on_demand = (launcher["available_node_types"][name] for name in ("gpu", "gpu-on-demand"))
        assert spot["resources"] == on_demand["resources"]
        assert spot["priority"] > on_demand.get("priority", 0)
        purchase = {"InstanceMarketOptions", "scheduling"}
        machines = [
            {name: value for name, value in node_type["node_config"].items() if name not in purchase}
            for node_type in (spot, on_demand)
        ]
        assert machines[0] == machines[1]

    def test_the_head_is_on_demand_and_the_pools_are_on_spot(self, launcher: Manifest) -> None:
        spot = {name for name, node in launcher["available_node_types"].items() if is_spot(node["node_config"])}
        assert spot == set(POOLS)

    def test_all_nodes_are_in_one_zone(self, launcher: Manifest) -> None:
        zone = launcher["provider"]["availability_zone"]
        assert re.fullmatch(rf"{launcher['provider']['region']}(-?[a-z])", zone)

    def test_ec2_accepts_the_machines(self, aws_launcher: Manifest, aws: None) -> None:
        for profile in ("mulan-head", "mulan-worker"):
            boto3.client("iam").create_instance_profile(InstanceProfileName=profile)
        config = AWSNodeProvider.bootstrap_config(prepare_config(copy.deepcopy(aws_launcher)))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        lifecycles = {}
        for name, node_type in config["available_node_types"].items():
            (instance,) = provider.create_node(node_type["node_config"], {}, 1).values()
            assert instance.instance_type == aws_launcher["available_node_types"][name]["node_config"]["InstanceType"]
            lifecycles[name] = instance.instance_lifecycle
        assert lifecycles == {"head": None, "cpu": "spot", "gpu": "spot", "gpu-on-demand": None}


class TestRayJob:
    def test_satisfies_kuberays_schema(self, rayjob: Manifest) -> None:
        """The schema, created by :mod:`tests.cluster.kuberay`, allows only the fields that are used."""
        jsonschema.validate(rayjob, json.loads(SCHEMA.read_text(encoding="utf-8")))

    def test_the_name_of_the_run_is_replaced_everywhere(self, rayjob: Manifest) -> None:
        assert rayjob["metadata"]["name"] == "mulan-run1"
        assert "--name run1 " in rayjob["spec"]["entrypoint"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", rayjob["metadata"]["name"])  # KubeRay: at most 47
        unnamed = manifest("rayjob.yaml", run="RUN")["metadata"]["name"]
        assert not re.fullmatch(r"[-a-z0-9.]+", unnamed)  # Kubernetes refuses it

    def test_the_job_is_retried_and_the_cluster_removed(self, rayjob: Manifest) -> None:
        assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
        spec = rayjob["spec"]
        assert spec["shutdownAfterJobFinishes"] is True  # without it ttlSecondsAfterFinished is refused
        assert min(spec["backoffLimit"], spec["submitterConfig"]["backoffLimit"], spec["ttlSecondsAfterFinished"]) > 0
        assert spec["activeDeadlineSeconds"] > spec["preRunningDeadlineSeconds"] > 0

    def test_a_user_error_is_not_retried(self, rayjob: Manifest) -> None:
        """KubeRay retries every failed job; after exit code 2, :mod:`jobs.attempt` has the job stopped."""
        assert rayjob["spec"]["entrypoint"].startswith("python -m jobs.attempt jobs.train ")
        assert MulanError.exit_code == USER_ERROR

    def test_the_cluster_is_autoscaled_by_the_installed_ray(self, rayjob: Manifest) -> None:
        cluster = rayjob["spec"]["rayClusterSpec"]
        assert cluster["rayVersion"] == importlib.metadata.version("ray")
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["autoscalerOptions"]["version"] == "v2"
        assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}

    def test_a_spot_pod_that_does_not_start_is_replaced_by_one_on_demand(self, rayjob: Manifest) -> None:
        """Ray's autoscaler gives up a pod that does not run within a timeout, and tries another group."""
        (timeout,) = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]["env"]
        assert timeout["name"] in inspect.getsource(InstanceReconcileConfig)
        (start_timeout_s,) = re.findall(
            r"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S=(\d+)", DOCKERFILE.read_text(encoding="utf-8")
        )
        # time for pulling an image, twice: pods on demand start before the worker group times out
        assert 600 <= float(timeout["value"]) <= float(start_timeout_s) - 600
        spot, on_demand = (worker_groups(rayjob)[name] for name in ("gpu", "gpu-on-demand"))
        assert spot["priority"] > on_demand["priority"]
        assert only_container(spot) == only_container(on_demand)

    def test_all_groups_scale_from_zero_and_have_their_label(self, rayjob: Manifest) -> None:
        assert worker_groups(rayjob).keys() == TYPES.keys()
        for name, group in worker_groups(rayjob).items():
            assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
            assert group["labels"] == {"pool": TYPES[name]}

    def test_head_and_submitter_are_on_demand_and_all_are_in_one_zone(self, rayjob: Manifest) -> None:
        selectors = [pod["nodeSelector"] for pod in pods(rayjob)]
        capacity = [selector["eks.amazonaws.com/capacityType"] for selector in selectors]
        assert capacity == [ON_DEMAND, ON_DEMAND, SPOT, SPOT, ON_DEMAND]  # submitter, head, cpu, gpu, gpu-on-demand
        assert len({selector["topology.kubernetes.io/zone"] for selector in selectors}) == 1

    def test_only_the_gpu_groups_request_see_and_tolerate_gpus(self, rayjob: Manifest) -> None:
        for group in groups(rayjob):
            container, pod = only_container(group), group["template"]["spec"]
            has_gpu = group.get("labels") == {"pool": "gpu"}
            assert container["resources"]["limits"].get("nvidia.com/gpu") == ("1" if has_gpu else None)
            # the value of the image makes all GPUs visible; in pods with GPUs the device plugin sets it
            assert environment(container).get("NVIDIA_VISIBLE_DEVICES") == (None if has_gpu else "void")
            assert [t["key"] for t in pod.get("tolerations", [])] == (["nvidia.com/gpu"] if has_gpu else [])

    def test_the_job_fits_its_cluster(self, rayjob: Manifest) -> None:
        entrypoint = rayjob["spec"]["entrypoint"]
        (recipe,) = re.findall(r"--recipe (\S+)", entrypoint)
        scale = load_recipe(recipe, re.findall(r"--set (\S+)", entrypoint)).scale
        cpus = {
            name: int(only_container(group)["resources"]["limits"]["cpu"])
            for name, group in worker_groups(rayjob).items()
        }
        max_replicas = {name: group["maxReplicas"] for name, group in worker_groups(rayjob).items()}
        assert scale.use_gpu
        assert scale.workers <= min(max_replicas["gpu"], max_replicas["gpu-on-demand"])
        assert scale.cpus_per_worker <= cpus["gpu"]
        assert scale.data_cpus <= cpus["cpu"] * max_replicas["cpu"]

    def test_no_pod_runs_as_root_or_with_privileges(self, rayjob: Manifest) -> None:
        autoscaler = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]["securityContext"]
        for pod in pods(rayjob):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = pod["containers"]
            assert container["securityContext"] == autoscaler
        assert autoscaler == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

    def test_ray_pods_have_an_account_and_expose_metrics(self, rayjob: Manifest) -> None:
        for group in groups(rayjob):
            assert group["template"]["spec"]["serviceAccountName"] == "mulan"
            (port,) = (p["containerPort"] for p in only_container(group)["ports"] if p["name"] == "metrics")
            annotations = group["template"]["metadata"]["annotations"]
            assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}

    def test_every_pod_requests_disk_space(self, rayjob: Manifest) -> None:
        for pod in pods(rayjob):
            assert pod["containers"][0]["resources"]["requests"]["ephemeral-storage"].endswith("Gi")

    def test_requests_equal_limits(self, rayjob: Manifest) -> None:
        for pod in pods(rayjob):
            resources = pod["containers"][0]["resources"]
            assert resources["requests"] == resources["limits"]

    def test_a_pod_drains_before_it_is_killed_and_within_the_spot_notice(self, rayjob: Manifest) -> None:
        for group in worker_groups(rayjob).values():
            drain_s = float(environment(only_container(group))["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
            assert drain_s > RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S  # Ray's default
            assert drain_s < group["template"]["spec"]["terminationGracePeriodSeconds"] < 120

    def test_every_pod_reads_the_storage_credentials_from_the_secret(self, rayjob: Manifest) -> None:
        for group in groups(rayjob):
            assert only_container(group)["envFrom"] == [{"secretRef": {"name": "mulan-storage"}}]

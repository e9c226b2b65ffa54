"""What can be known of cluster/ without a cloud: Ray's own checks, EC2 as moto plays it, and that the files agree."""

import copy
import importlib.metadata
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import ray.autoscaler
import yaml
from moto import mock_aws
from packaging.specifiers import SpecifierSet
from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

from mulan.config.recipe import load_recipe
from mulan.config.recipes import named_recipes

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
POOLS = ("cpu", "gpu")

Manifest = dict[str, Any]


@pytest.fixture
def launcher() -> Manifest:
    return yaml.safe_load((CLUSTER / "launcher.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def rayjob() -> Manifest:
    return yaml.safe_load((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty AWS account in this process; the key that the launcher makes lands in a throw-away home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def instruction_arguments(instruction: str) -> list[list[str]]:
    """The words after each occurrence of an instruction in the Dockerfile, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.startswith(f"{instruction} ")]


def worker_groups(rayjob: Manifest) -> dict[str, Manifest]:
    return {group["groupName"]: group for group in rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]}


def only_container(group: Manifest) -> Manifest:
    (container,) = group["template"]["spec"]["containers"]
    return container


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


class TestLauncher:
    def test_satisfies_rays_schema(self, launcher: Manifest) -> None:
        schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
        jsonschema.validate(launcher, schema)

    def test_passes_the_preparation_and_validation_of_ray_up(self, launcher: Manifest) -> None:
        prepared = prepare_config(copy.deepcopy(launcher))
        validate_config(prepared)
        assert prepared["max_workers"] == sum(launcher["available_node_types"][pool]["max_workers"] for pool in POOLS)
        assert prepared["setup_commands"] == []  # nothing of Ray's defaults is installed into the container

    def test_declares_the_processors_that_the_machines_have(self, launcher: Manifest, aws: None) -> None:
        undeclared = copy.deepcopy(launcher)
        for node_type in undeclared["available_node_types"].values():
            node_type["resources"] = {}
        filled = AWSNodeProvider.fillout_available_node_types_resources(undeclared)["available_node_types"]
        for pool in POOLS:
            declared = launcher["available_node_types"][pool]["resources"]
            assert declared == {name: filled[pool]["resources"][name] for name in declared}
        assert "GPU" in filled["gpu"]["resources"]

    def test_the_head_does_no_work(self, launcher: Manifest) -> None:
        assert launcher["available_node_types"][launcher["head_node_type"]]["resources"] == {"CPU": 0}

    def test_both_pools_grow_from_nothing_and_carry_their_label(self, launcher: Manifest) -> None:
        for pool in POOLS:
            node_type = launcher["available_node_types"][pool]
            assert node_type["min_workers"] == 0 < node_type["max_workers"]
            assert node_type["labels"] == {"pool": pool}

    def test_ec2_takes_its_machines_head_on_demand_and_pools_on_spot(self, launcher: Manifest, aws: None) -> None:
        for profile in ("mulan-head", "mulan-worker"):
            boto3.client("iam").create_instance_profile(InstanceProfileName=profile)
        config = AWSNodeProvider.bootstrap_config(prepare_config(copy.deepcopy(launcher)))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        lifecycles = {}
        for name, node_type in config["available_node_types"].items():
            (instance,) = provider.create_node(node_type["node_config"], {}, 1).values()
            assert instance.instance_type == launcher["available_node_types"][name]["node_config"]["InstanceType"]
            lifecycles[name] = instance.instance_lifecycle
        assert lifecycles == {"head": None, "cpu": "spot", "gpu": "spot"}


class TestRayJob:
    def test_is_a_retried_job_that_cleans_up(self, rayjob: Manifest) -> None:
        assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", rayjob["metadata"]["name"])  # KubeRay: at most 47
        spec = rayjob["spec"]
        assert spec["shutdownAfterJobFinishes"] is True  # without it ttlSecondsAfterFinished is refused
        assert min(spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) > 0
        assert spec["activeDeadlineSeconds"] > spec["preRunningDeadlineSeconds"] > 0

    def test_the_cluster_is_autoscaled_by_the_installed_ray(self, rayjob: Manifest) -> None:
        cluster = rayjob["spec"]["rayClusterSpec"]
        assert cluster["rayVersion"] == importlib.metadata.version("ray")
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["autoscalerOptions"]["version"] == "v2"
        assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}

    def test_both_groups_grow_from_nothing_on_spot_and_carry_their_label(self, rayjob: Manifest) -> None:
        groups = worker_groups(rayjob)
        assert tuple(groups) == POOLS
        for pool, group in groups.items():
            assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
            assert group["labels"] == {"pool": pool}
            assert group["template"]["spec"]["nodeSelector"] == {"eks.amazonaws.com/capacityType": "SPOT"}

    def test_only_the_gpu_group_asks_for_gpus_and_tolerates_their_taint(self, rayjob: Manifest) -> None:
        groups = worker_groups(rayjob)
        assert "nvidia.com/gpu" not in only_container(groups["cpu"])["resources"]["limits"]
        assert only_container(groups["gpu"])["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert [t["key"] for t in groups["gpu"]["template"]["spec"]["tolerations"]] == ["nvidia.com/gpu"]

    def test_the_job_fits_its_cluster(self, rayjob: Manifest) -> None:
        entrypoint = rayjob["spec"]["entrypoint"]
        (recipe,) = re.findall(r"--recipe (\S+)", entrypoint)
        scale = load_recipe(recipe, named_recipes(), re.findall(r"--set (\S+)", entrypoint)).scale
        groups = worker_groups(rayjob)
        cpus = {pool: int(only_container(group)["resources"]["limits"]["cpu"]) for pool, group in groups.items()}
        assert scale.use_gpu
        assert scale.workers <= groups["gpu"]["maxReplicas"]
        assert scale.cpus_per_worker <= cpus["gpu"]
        assert scale.data_cpus <= cpus["cpu"] * groups["cpu"]["maxReplicas"]

    def test_requests_are_limits(self, rayjob: Manifest) -> None:
        for group in [rayjob["spec"]["rayClusterSpec"]["headGroupSpec"], *worker_groups(rayjob).values()]:
            resources = only_container(group)["resources"]
            assert resources["requests"] == resources["limits"]

    def test_a_pod_drains_before_it_is_killed_and_within_the_spot_notice(self, rayjob: Manifest) -> None:
        for group in worker_groups(rayjob).values():
            drain_s = float(environment(only_container(group))["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
            assert drain_s > RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S  # what Ray does unasked
            assert drain_s < group["template"]["spec"]["terminationGracePeriodSeconds"] < 120

    def test_every_pod_reads_the_storage_credentials_from_the_secret(self, rayjob: Manifest) -> None:
        for group in [rayjob["spec"]["rayClusterSpec"]["headGroupSpec"], *worker_groups(rayjob).values()]:
            assert only_container(group)["envFrom"] == [{"secretRef": {"name": "mulan-storage"}}]


class TestImage:
    def test_everything_runs_the_image_that_the_dockerfile_names(self, launcher: Manifest, rayjob: Manifest) -> None:
        (tag,) = re.findall(r"--tag (\S+)", DOCKERFILE)
        groups = [rayjob["spec"]["rayClusterSpec"]["headGroupSpec"], *worker_groups(rayjob).values()]
        assert {only_container(group)["image"] for group in groups} == {tag}
        assert launcher["docker"]["image"] == tag
        assert tag.rpartition(":")[2] == pyproject()["version"]

    def test_copies_what_exists_and_nothing_by_the_way(self) -> None:
        sources = {source for arguments in instruction_arguments("COPY") for source in arguments[:-1]}
        assert {"requirements.lock", "pyproject.toml", "mulan", "jobs", "tune"} <= sources
        assert {source for source in sources if not (ROOT / source).exists()} == set()

    def test_has_the_python_of_the_package(self) -> None:
        ((base, *_),) = instruction_arguments("FROM")
        name, version = re.fullmatch(r"(\w+):([\d.]+)-slim-\w+", base).groups()
        assert name == "python"
        assert version in SpecifierSet(pyproject()["requires-python"])

    @pytest.mark.parametrize("package", ["ray", "boto3"])  # boto3: the launcher's autoscaler starts machines with it
    def test_installs_the_version_that_is_tested_here(self, package: str) -> None:
        assert any("requirements.lock" in words for words in instruction_arguments("RUN"))
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        assert f"{package}=={importlib.metadata.version(package)}" in lock

    def test_runs_offline_as_a_user_without_privileges(self) -> None:
        assert instruction_arguments("USER")[-1] == ["ray"]
        settings = dict(word.split("=") for words in instruction_arguments("ENV") for word in words)
        assert settings.pop("HF_HUB_OFFLINE") == "1"
        assert settings.keys() <= set(ENV_VARS_TO_PROPAGATE)  # Ray Train knows them and hands them to its controller


def pyproject() -> Manifest:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

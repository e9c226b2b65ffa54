"""Tests the RayJob of a submission against KubeRay's schema, and what values, packages and variables change."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mulan.submission.command import Command
from mulan.submission.errors import SubmissionError
from mulan.submission.manifest import (
    MANIFEST,
    MAX_PACKAGE_BYTES,
    entrypoint,
    exit_code_in,
    job_name,
    load_manifest,
    made_manifest,
    rayjob_of,
    text_of,
    zones_note,
)
from mulan.submission.package import Package
from mulan.submission.request import Submission
from mulan.submission.values import CpuValues, GpuValues, KubeRayValues, PodValues
from tests.cluster.kuberay import SCHEMA

COMMAND = Command(("python", "-m", "jobs.train", "--recipe", "demo", "--name", "run1", "--set", "a.b='c d'"))
PACKAGE = Package(b"zip", ())
EVERYTHING = KubeRayValues(
    image="registry.example.com/other:2",
    image_pull_secrets=("registry",),
    service_account="trainer",
    storage_secret="keys",
    head=PodValues(cpus=2, memory_gib=8, disk_gib=10, node_selector={"kind": "head"}),
    cpu=CpuValues(cpus=30, max_pods=3, node_selector={"kind": "cpu"}),
    gpu=GpuValues(
        gpus=8,
        resource="amd.com/gpu",
        cpus=90,
        max_pods=2,
        max_pods_on_demand=0,
        node_selector={"kind": "gpu"},
        node_selector_on_demand={"kind": "gpu", "market": "on-demand"},
    ),
)


NOTHING = KubeRayValues()


def made(values: KubeRayValues = NOTHING, **changes: Any) -> dict[str, Any]:
    """Returns the RayJob of a command, which satisfies KubeRay's schema."""
    options: dict[str, Any] = {"package": None, "variables": {}, "check_first": True, "retries": 2, "pause_s": 0.0}
    manifest, *_ = rayjob_of(Submission(COMMAND, **options | changes), load_manifest(MANIFEST), values)
    jsonschema.validate(manifest, json.loads(SCHEMA.read_text(encoding="utf-8")))
    return manifest


def groups(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"]} | {each["groupName"]: each for each in cluster["workerGroupSpecs"]}


def pods(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: group["template"]["spec"] for name, group in groups(manifest).items()}


def containers(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: pod["containers"][0] for name, pod in pods(manifest).items()}


def test_gpus_of_another_manifest_are_left_as_they_are() -> None:
    other = load_manifest(MANIFEST)
    for pod in pods(other).values():
        for sizes in pod["containers"][0]["resources"].values():
            if sizes.pop("nvidia.com/gpu", None):
                sizes["amd.com/gpu"] = "4"
    for values in (KubeRayValues(), KubeRayValues(gpu=GpuValues(resource="amd.com/gpu"))):
        made = made_manifest(other, values, COMMAND, retries=0, check_first=False)
        limits = pods(made)["gpu"]["containers"][0]["resources"]["limits"]
        assert {name: count for name, count in limits.items() if name.endswith("/gpu")} == {"amd.com/gpu": "4"}


def test_without_values_only_name_command_and_retries_differ_from_the_manifest() -> None:
    base, manifest = load_manifest(MANIFEST), made()
    for changed, keys in ((base["spec"], ("entrypoint", "backoffLimit")), (base["metadata"], ("name",))):
        for key in keys:
            del changed[key]
    assert manifest["metadata"].pop("name") == "mulan-run1"
    assert manifest["spec"].pop("backoffLimit") == 2
    assert shlex.split(manifest["spec"].pop("entrypoint")) == [
        *("python", "-m", "jobs.attempt", "--check-first", *COMMAND.words[2:]),
    ]
    assert manifest == base


def test_values_change_the_pods_that_they_name() -> None:
    manifest = made(EVERYTHING)
    spec = manifest["spec"]
    submitter = spec["submitterPodTemplate"]["spec"]
    every = [submitter, *pods(manifest).values()]
    assert {pod["containers"][0]["image"] for pod in every} == {"registry.example.com/other:2"}
    assert all(pod["imagePullSecrets"] == [{"name": "registry"}] for pod in every)
    assert {pod["serviceAccountName"] for pod in pods(manifest).values()} == {"trainer"}
    assert all(each["envFrom"] == [{"secretRef": {"name": "keys"}}] for each in containers(manifest).values())
    head = containers(manifest)["head"]["resources"]
    assert head["limits"] == head["requests"] == {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "10Gi"}
    assert submitter["nodeSelector"] == pods(manifest)["head"]["nodeSelector"] == {"kind": "head"}
    assert {name: pod["nodeSelector"] for name, pod in pods(manifest).items() if name != "head"} == {
        "cpu": {"kind": "cpu"},
        "gpu": {"kind": "gpu"},
        "gpu-on-demand": {"kind": "gpu", "market": "on-demand"},
    }
    assert {name: group.get("maxReplicas") for name, group in groups(manifest).items()} == {
        "head": None,
        "cpu": 3,
        "gpu": 2,
        "gpu-on-demand": 0,
    }
    for name in ("gpu", "gpu-on-demand"):
        limits = containers(manifest)[name]["resources"]["limits"]
        assert (limits["amd.com/gpu"], limits["cpu"], "nvidia.com/gpu" in limits) == ("8", "90", False)
        assert [each["key"] for each in pods(manifest)[name]["tolerations"]] == ["amd.com/gpu"]


def test_values_that_are_not_given_keep_those_of_the_manifest() -> None:
    manifest = made(KubeRayValues(cpu=CpuValues(cpus=30)))
    base = load_manifest(MANIFEST)
    sizes, before = containers(manifest)["cpu"]["resources"], containers(base)["cpu"]["resources"]
    assert sizes["limits"] == before["limits"] | {"cpu": "30"}
    assert {name: each for name, each in groups(manifest).items() if name != "cpu"} == {
        name: each for name, each in groups(base).items() if name != "cpu"
    }


def test_pods_in_different_zones_are_named() -> None:
    elsewhere = {"topology.kubernetes.io/zone": "us-west-2b"}
    note = zones_note(made(KubeRayValues(cpu=CpuValues(node_selector=elsewhere))))
    assert "head and gpu and gpu-on-demand in us-west-2a, cpu in us-west-2b; set node_selector" in note
    anywhere = PodValues(node_selector={})
    gpu = GpuValues(node_selector=elsewhere, max_pods_on_demand=0)
    values = KubeRayValues(head=anywhere, cpu=CpuValues(node_selector=elsewhere), gpu=gpu)
    assert zones_note(made(values)) == ""  # gpu-on-demand, which is elsewhere, has no pods
    assert zones_note(made(EVERYTHING)) == zones_note(made()) == ""


def test_a_package_is_mounted_in_every_ray_pod_and_is_the_working_folder() -> None:
    manifest = made(package=PACKAGE)
    for pod in pods(manifest).values():
        (volume,) = pod["volumes"]
        assert volume == {"name": "package", "configMap": {"name": "mulan-run1-package"}}
        (mount,) = pod["containers"][0]["volumeMounts"]
        folder = mount["mountPath"]
    environment = yaml.safe_load(manifest["spec"]["runtimeEnvYAML"])
    assert environment == {"working_dir": f"file://{folder}/package.zip"}
    assert "volumes" not in manifest["spec"]["submitterPodTemplate"]["spec"]


def test_variables_are_in_a_secret_and_not_in_the_manifest() -> None:
    manifest = made(variables={"TOKEN": "hunter2"})
    for container in containers(manifest).values():
        assert [each["secretRef"]["name"] for each in container["envFrom"]] == ["mulan-storage", "mulan-run1-variables"]
    assert "hunter2" not in text_of(manifest)


def test_a_package_that_kubernetes_cannot_store_is_refused() -> None:
    with pytest.raises(SubmissionError, match="put code into the image"):
        made(package=Package(bytes(MAX_PACKAGE_BYTES + 1), ()))


def test_the_printed_manifest_is_the_same_and_has_no_anchors() -> None:
    manifest = made(EVERYTHING)
    text = text_of(manifest)
    assert yaml.safe_load(text) == manifest
    assert not re.search(r"[&*]id\d", text)


def test_the_base_is_not_changed() -> None:
    base = load_manifest(MANIFEST)
    made_manifest(base, EVERYTHING, COMMAND, retries=1, check_first=False)
    assert base == load_manifest(MANIFEST)


@pytest.mark.parametrize("name", ["run1", "Run_1", "run_1", "run.1", "-x-", "x" * 80, "x" * 81, "é", "", "a--b"])
def test_names_are_valid_and_different(name: str) -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", job_name(name))  # KubeRay: at most 47
    assert job_name(name) == job_name(name)
    assert job_name(name) != job_name(f"{name}.")


def test_only_jobs_of_mulan_run_as_attempts() -> None:
    other = Command(("python", "script.py", "$HOME", "it's"))
    assert shlex.split(entrypoint(other, check_first=False)) == [*other.words]
    assert entrypoint(Command(("python", "-m", "tune.sweep")), check_first=False) == "python -m jobs.attempt tune.sweep"


def test_the_exit_code_is_that_of_the_message() -> None:
    assert exit_code_in("Job entrypoint command failed with exit code 137, last available logs ...") == 137
    assert exit_code_in("Job entrypoint command failed with exit code -9. No logs available.") == 137
    assert exit_code_in("") == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kind: RayCluster\nspec: {}", "is not a RayJob like"),
        ("[", "cannot be read"),
        ("[]", "is not a RayJob like"),
    ],
)
def test_other_manifests_are_refused(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(SubmissionError, match=named):
        load_manifest(tmp_path / "job.yaml")


OPTIONAL_LISTS = ["tolerations", "volumes", "containers[0].envFrom", "containers[0].volumeMounts"]


def pod_with(field: str, value: Any, folder: Path) -> Path:
    """Returns a file with a manifest, in whose first GPU pods a field has another value."""
    manifest = load_manifest(MANIFEST)
    pod = pods(manifest)["gpu"]
    owner = pod["containers"][0] if field.startswith("containers") else pod
    owner[field.rpartition(".")[2]] = value
    (folder / "job.yaml").write_text(text_of(manifest))
    return folder / "job.yaml"


@pytest.mark.parametrize("field", OPTIONAL_LISTS)
def test_a_list_that_is_null_is_absent(tmp_path: Path, field: str) -> None:
    base = load_manifest(pod_with(field, None, tmp_path))
    submission = Submission(COMMAND, PACKAGE, {"TOKEN": "x"}, check_first=False, retries=0, pause_s=0.0)
    manifest, *_ = rayjob_of(submission, base, KubeRayValues(gpu=GpuValues(gpus=2, resource="amd.com/gpu")))
    jsonschema.validate(manifest, json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize("field", OPTIONAL_LISTS)
@pytest.mark.parametrize(
    ("value", "fault"), [({"a": 1}, " must be a list"), ("x", " must be a list"), ([{}, 1], "[1]")]
)
def test_a_list_of_another_type_is_refused_by_its_path(tmp_path: Path, field: str, value: Any, fault: str) -> None:
    named = f"job.yaml: spec.rayClusterSpec.workerGroupSpecs[1].template.spec.{field}{fault}"
    with pytest.raises(SubmissionError, match=re.escape(named)):
        load_manifest(pod_with(field, value, tmp_path))


def test_a_manifest_that_contains_itself_is_refused(tmp_path: Path) -> None:
    text = MANIFEST.read_text().replace("metadata:\n  name: mulan-RUN", "metadata: &own\n  name: x\n  own: *own", 1)
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(SubmissionError, match="a part contains itself"):
        load_manifest(tmp_path / "job.yaml")


@pytest.mark.parametrize("lacks", ["metadata:\n  name: mulan-RUN\n", "limits: *head_size\n", "  name: mulan-RUN"])
def test_a_manifest_without_a_field_that_is_set_is_refused(tmp_path: Path, lacks: str) -> None:
    text = MANIFEST.read_text()
    assert lacks in text
    (tmp_path / "job.yaml").write_text(text.replace(lacks, ""))
    with pytest.raises(SubmissionError, match="is not a RayJob like"):
        load_manifest(tmp_path / "job.yaml")


def test_a_manifest_without_the_pools_is_refused(tmp_path: Path) -> None:
    manifest = load_manifest(MANIFEST)
    manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"].pop()
    (tmp_path / "job.yaml").write_text(text_of(manifest))
    with pytest.raises(SubmissionError, match="with the worker groups cpu, gpu, gpu-on-demand"):
        load_manifest(tmp_path / "job.yaml")
    with pytest.raises(SubmissionError, match="--manifest"):
        load_manifest(tmp_path / "nowhere.yaml")

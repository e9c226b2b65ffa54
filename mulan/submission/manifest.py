"""The RayJob of a submission to KubeRay: cluster/rayjob.yaml with the values of an installation."""

import copy
import hashlib
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mulan.config.parsing import parse_yaml
from mulan.submission.attempts import MAY_SUCCEED, exit_code
from mulan.submission.command import Command
from mulan.submission.errors import SubmissionError
from mulan.submission.request import Submission
from mulan.submission.values import GpuValues, KubeRayValues, PodValues

Manifest = dict[str, Any]

MANIFEST = Path(__file__).parents[2] / "cluster" / "rayjob.yaml"
"""The manifest of a checkout."""
PACKAGE_FOLDER, PACKAGE_FILE = "/etc/mulan-package", "package.zip"
MAX_PACKAGE_BYTES = 1_000_000
"""Limit of a package: Kubernetes stores a ConfigMap of at most 1 MiB."""
_MAX_NAME = 47  # of KubeRay, which appends to it
_GPU_RESOURCE = "nvidia.com/gpu"  # of the manifest of a checkout
_ZONE = "topology.kubernetes.io/zone"
_GROUPS = ("cpu", "gpu", "gpu-on-demand")
_LISTS_OF_PODS, _LISTS_OF_CONTAINERS = ("volumes", "tolerations"), ("envFrom", "volumeMounts")
"""Optional lists of mappings that values, packages and variables change."""


def load_manifest(file: Path) -> Manifest:
    """Returns the RayJob of a file.

    Raises:
        SubmissionError: The file does not exist, or is not a RayJob with the pools that values can change.
    """
    try:
        manifest = parse_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SubmissionError(
            [f"{file} does not exist: give the manifest to start from, such as cluster/rayjob.yaml, by --manifest"]
        ) from error
    except (OSError, ValueError) as error:
        raise SubmissionError([f"--manifest {file}: cannot be read: {' '.join(str(error).split())}"]) from error
    unlike = f"--manifest {file}: is not a RayJob like cluster/rayjob.yaml"
    try:
        names = [str(group["groupName"]) for group in manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
        settable = [manifest["metadata"], *(pod["containers"][0] for pod in _pod_specs(manifest))]
        for pod in _ray_pod_specs(manifest):
            settable += [pod["containers"][0]["resources"][kind] for kind in ("requests", "limits")]
        kind = manifest["kind"]
    except KeyError as error:
        raise SubmissionError([f"{unlike}: no {error}"]) from error
    except (IndexError, TypeError) as error:
        raise SubmissionError([f"{unlike}: a field has another type"]) from error
    if kind != "RayJob" or not all(isinstance(each, dict) for each in settable):
        raise SubmissionError([unlike])
    if sorted(names) != sorted(_GROUPS):
        raise SubmissionError([f"--manifest {file}: must be a RayJob with the worker groups {', '.join(_GROUPS)}"])
    try:
        manifest = _without_aliases(manifest)
    except RecursionError as error:
        raise SubmissionError([f"--manifest {file}: a part contains itself, by an alias of YAML"]) from error
    faults: list[str] = []
    for path, part, name in _lists(manifest):
        if part.get(name, ...) is None:
            del part[name]  # to Kubernetes, null is absent
        faults += _faults_of_list(path, part.get(name, []))
    if faults:
        raise SubmissionError([f"--manifest {file}: {fault}" for fault in faults])
    return manifest


def _lists(manifest: Manifest) -> Iterator[tuple[str, Manifest, str]]:
    """Yields the lists that are changed later: the path, and the part of the manifest that may have it by what name."""
    for path, pod in _located_pods(manifest):
        yield from ((f"{path}.{name}", pod, name) for name in _LISTS_OF_PODS)
        container = pod["containers"][0]
        yield from ((f"{path}.containers[0].{name}", container, name) for name in _LISTS_OF_CONTAINERS)


def _faults_of_list(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} must be a list"
        return
    for place, each in enumerate(value):
        if not isinstance(each, dict):
            yield f"{path}[{place}] must have fields"


def job_name(name: str) -> str:
    """Returns the name of the RayJob of a run, which Kubernetes and KubeRay accept.

    Names that need a change end with a part of their digest, so that different runs have different names.

    Example:
        >>> job_name("run1"), job_name("Run_1")
        ('mulan-run1', 'mulan-run-1-f3a089d7')
    """
    valid = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    full = f"mulan-{valid}"
    if valid and valid == name and len(full) <= _MAX_NAME:
        return full
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{full[: _MAX_NAME - 9].rstrip('-')}-{digest}"


def entrypoint(command: Command, *, check_first: bool) -> str:
    """Returns the entrypoint of a RayJob, which the pod that submits it gives to a shell.

    Jobs of mulan run by ``jobs.attempt``, since KubeRay does not see exit codes.
    """
    words = command.words
    if (command.module or "").startswith(("jobs.", "tune.")):
        check = ["--check-first"] if check_first else []
        words = (words[0], "-m", "jobs.attempt", *check, *words[2:])
    return shlex.join(words)


def made_manifest(
    base: Manifest, values: KubeRayValues, command: Command, *, retries: int, check_first: bool
) -> Manifest:
    """Returns the RayJob of a command.

    Args:
        base: The manifest to start from (:func:`load_manifest`).
        values: What differs from it.
        command: The command of the job.
        retries: Maximum number of further attempts, each on a new cluster.
        check_first: Whether the command first runs with ``--dry-run``.
    """
    manifest = _without_aliases(base)
    manifest["metadata"]["name"] = job_name(command.name)
    spec = manifest["spec"]
    spec["entrypoint"] = entrypoint(command, check_first=check_first)
    spec["backoffLimit"] = retries
    for pod in _pod_specs(manifest):
        if values.image:
            pod["containers"][0]["image"] = values.image
        if values.image_pull_secrets:
            pod["imagePullSecrets"] = [{"name": secret} for secret in values.image_pull_secrets]
    for pod in _ray_pod_specs(manifest):
        if values.service_account:
            pod["serviceAccountName"] = values.service_account
        if values.storage_secret:
            pod["containers"][0]["envFrom"] = [{"secretRef": {"name": values.storage_secret}}]
    _set_pod(spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"], values.head)
    if values.head.node_selector is not None:
        spec["submitterPodTemplate"]["spec"]["nodeSelector"] = dict(values.head.node_selector)
    groups = {group["groupName"]: group for group in spec["rayClusterSpec"]["workerGroupSpecs"]}
    _set_group(groups["cpu"], values.cpu, values.cpu.max_pods)
    on_demand = values.gpu.model_dump() | {"node_selector": values.gpu.node_selector_on_demand}
    for name, pool, pods in (
        ("gpu", values.gpu, values.gpu.max_pods),
        ("gpu-on-demand", GpuValues(**on_demand), values.gpu.max_pods_on_demand),
    ):
        _set_group(groups[name], pool, pods)
        _set_gpus(groups[name]["template"]["spec"], values.gpu)
    return manifest


def with_package(manifest: Manifest, config_map: str) -> Manifest:
    """Returns the RayJob with a package as its working folder, which a ConfigMap provides to every Ray pod."""
    packed = _without_aliases(manifest)
    for pod in _ray_pod_specs(packed):
        pod.setdefault("volumes", []).append({"name": "package", "configMap": {"name": config_map}})
        mount = {"name": "package", "mountPath": PACKAGE_FOLDER, "readOnly": True}
        pod["containers"][0].setdefault("volumeMounts", []).append(mount)
    environment = {"working_dir": f"file://{PACKAGE_FOLDER}/{PACKAGE_FILE}"}
    packed["spec"]["runtimeEnvYAML"] = yaml.safe_dump(environment)
    return packed


def with_variables(manifest: Manifest, secret: str) -> Manifest:
    """Returns the RayJob with the entries of a further secret as environment variables of every Ray pod."""
    changed = _without_aliases(manifest)
    for pod in _ray_pod_specs(changed):
        pod["containers"][0].setdefault("envFrom", []).append({"secretRef": {"name": secret}})
    return changed


def rayjob_of(submission: Submission, base: Manifest, values: KubeRayValues) -> tuple[Manifest, str, str]:
    """Returns the RayJob of a submission, and the names of its ConfigMap and secret, empty for none.

    Raises:
        SubmissionError: The package does not fit into a ConfigMap.
    """
    name = job_name(submission.command.name)
    manifest = made_manifest(
        base, values, submission.command, retries=submission.retries, check_first=submission.check_first
    )
    package = f"{name}-package" if submission.package else ""
    if submission.package:
        size = len(submission.package.content)
        if size > MAX_PACKAGE_BYTES:
            raise SubmissionError(
                [
                    f"the package has {size} bytes, and Kubernetes stores at most {MAX_PACKAGE_BYTES}: put code into "
                    "the image, and data into the storage that the cluster reads"
                ]
            )
        manifest = with_package(manifest, package)
    secret = f"{name}-variables" if submission.variables else ""
    return (with_variables(manifest, secret) if secret else manifest), package, secret


def zones_note(manifest: Manifest) -> str:
    """Returns that pods, of which there may be any, are bound to different zones; empty if they are not."""
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"] if group.get("maxReplicas") != 0}
    zones: dict[str, list[str]] = {}
    for name, group in {"head": cluster["headGroupSpec"], **groups}.items():
        selector = group["template"]["spec"].get("nodeSelector")
        if isinstance(selector, dict) and selector.get(_ZONE):
            zones.setdefault(str(selector[_ZONE]), []).append(name)
    if len(zones) < 2:
        return ""
    listed = ", ".join(f"{' and '.join(names)} in {zone}" for zone, names in zones.items())
    return (
        f"the pods are in different zones, between which traffic is slower and charged: {listed}; set node_selector "
        "of head, cpu and gpu, and node_selector_on_demand of gpu, in --values"
    )


def text_of(manifest: Mapping[str, Any]) -> str:
    """Returns a manifest as YAML, without anchors, its fields in their order."""
    return yaml.safe_dump(_without_aliases(manifest), sort_keys=False, width=120)


def _without_aliases(value: Any) -> Any:
    """Returns a deep copy in which no part is shared; parts of a manifest with YAML's aliases would change together."""
    if isinstance(value, Mapping):
        return {key: _without_aliases(item) for key, item in value.items()}
    return [_without_aliases(item) for item in value] if isinstance(value, list) else copy.copy(value)


def _located_pods(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yields all pods, with the paths of their fields; the first one submits the job, and the others run Ray."""
    yield "spec.submitterPodTemplate.spec", manifest["spec"]["submitterPodTemplate"]["spec"]
    cluster = manifest["spec"]["rayClusterSpec"]
    yield "spec.rayClusterSpec.headGroupSpec.template.spec", cluster["headGroupSpec"]["template"]["spec"]
    for place, group in enumerate(cluster["workerGroupSpecs"]):
        yield f"spec.rayClusterSpec.workerGroupSpecs[{place}].template.spec", group["template"]["spec"]


def _pod_specs(manifest: Manifest) -> Iterator[Manifest]:
    return (pod for _, pod in _located_pods(manifest))


def _ray_pod_specs(manifest: Manifest) -> Iterator[Manifest]:
    return itertools.islice(_pod_specs(manifest), 1, None)


def _set_pod(pod: Manifest, values: PodValues) -> None:
    if values.node_selector is not None:
        pod["nodeSelector"] = dict(values.node_selector)
    size = {
        "cpu": None if values.cpus is None else str(values.cpus),
        "memory": None if values.memory_gib is None else f"{values.memory_gib}Gi",
        "ephemeral-storage": None if values.disk_gib is None else f"{values.disk_gib}Gi",
    }
    resources = pod["containers"][0]["resources"]
    for kind in ("requests", "limits"):
        resources[kind] |= {name: amount for name, amount in size.items() if amount is not None}


def _set_group(group: Manifest, values: PodValues, max_pods: int | None) -> None:
    _set_pod(group["template"]["spec"], values)
    if max_pods is not None:
        group["maxReplicas"] = max_pods


def _set_gpus(pod: Manifest, values: GpuValues) -> None:
    if values.gpus is None and values.resource is None:
        return
    resource = values.resource or _GPU_RESOURCE
    for sizes in pod["containers"][0]["resources"].values():
        count = sizes.pop(_GPU_RESOURCE, None) or sizes.get(resource, "1")
        sizes[resource] = count if values.gpus is None else str(values.gpus)
    for toleration in pod.get("tolerations", []):
        if toleration.get("key") == _GPU_RESOURCE:
            toleration["key"] = resource


def exit_code_in(message: str) -> int:
    """Returns the exit code of a job that the message of a RayJob's status states; 1 if it states none."""
    match = re.search(r"failed with exit code (-?\d+)", message)
    return exit_code(int(match[1])) if match else MAY_SUCCEED

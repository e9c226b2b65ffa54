"""The values of a KubeRay job that differ between installations: what ``--values FILE`` may set."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mulan.config.base import Section
from mulan.config.errors import RecipeError
from mulan.config.parsing import parse_toml, parse_yaml
from mulan.config.validation import validated
from mulan.submission.errors import SubmissionError
from mulan.submission.kubernetes_names import MAX_INT, checked_image, checked_labels, checked_name, checked_resource

# strict: "16" and true are no numbers
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_INT)]
PositiveCount = Annotated[int, Field(strict=True, ge=1, le=MAX_INT)]
Image = Annotated[str, AfterValidator(checked_image)]
Name = Annotated[str, AfterValidator(checked_name)]
Resource = Annotated[str, AfterValidator(checked_resource)]
Labels = Annotated[dict[str, str], AfterValidator(checked_labels)]


class PodValues(Section):
    """The size of a pod, and the nodes that it may run on. What is not given is that of the manifest."""

    cpus: PositiveCount | None = None
    """CPUs of a pod."""
    memory_gib: PositiveCount | None = None
    """Memory of a pod in GiB."""
    disk_gib: PositiveCount | None = None
    """Disk space of a pod in GiB (``ephemeral-storage``)."""
    node_selector: Labels | None = None
    """Labels of the nodes that a pod may run on; replaces those of the manifest."""


class CpuValues(PodValues):
    """The pods that read, decode and tokenize."""

    max_pods: PositiveCount | None = None
    """Maximum number of pods."""


class GpuValues(PodValues):
    """The pods of training workers."""

    max_pods: PositiveCount | None = None
    """Maximum number of pods on spot nodes."""
    max_pods_on_demand: Count | None = None
    """Maximum number of pods on demand, which replace spot pods that do not start; 0 for none."""
    gpus: PositiveCount | None = None
    """GPUs of a pod."""
    resource: Resource | None = None
    """The resource by which Kubernetes counts the GPUs, which is also the key of the taint that the pods tolerate;
    replaces ``nvidia.com/gpu``."""
    node_selector_on_demand: Labels | None = None
    """Labels of the nodes of pods on demand; replaces those of the manifest."""


class KubeRayValues(Section):
    """The values of a KubeRay job. What is not given is that of the manifest, cluster/rayjob.yaml."""

    image: Image | None = None
    """The image of all pods."""
    image_pull_secrets: tuple[Name, ...] = ()
    """Secrets with the credentials of the image's registry."""
    service_account: Name | None = None
    """The service account of the Ray pods, which may read and write the bucket."""
    storage_secret: Name | None = None
    """The secret whose entries become environment variables of the Ray pods, such as ``AWS_REGION``."""
    context: str = ""
    """The context of the Kubernetes configuration; empty for the current one."""
    head: PodValues = PodValues()
    """The head, which runs the driver. Its node selector is also that of the pod that submits the job."""
    cpu: CpuValues = CpuValues()
    """The pool of CPU pods."""
    gpu: GpuValues = GpuValues()
    """The pool of GPU pods."""


def load_values(file: Path | None) -> KubeRayValues:
    """Returns the values of a TOML or YAML file; the defaults without one.

    Raises:
        SubmissionError: The file cannot be read, a field is unknown, or a value is invalid; lists all faults.
    """
    if file is None:
        return KubeRayValues()
    try:
        return validated(KubeRayValues, _parsed(file), name=str(file))
    except RecipeError as error:
        raise SubmissionError([f"--values {file}: {fault}" for fault in error.faults]) from error


def _parsed(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        values = parse_toml(text) if file.suffix == ".toml" else parse_yaml(text)
    except (OSError, ValueError) as error:
        raise SubmissionError([f"--values {file}: cannot be read: {' '.join(str(error).split())}"]) from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SubmissionError([f"--values {file}: must have fields at its top"])
    return values

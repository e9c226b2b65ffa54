"""The checks of one node, which run there in a process of their own and change nothing."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import huggingface_hub.constants

from mulan.config.errors import MulanError
from mulan.config.paths import LOCAL_SCHEMES, scheme_of
from mulan.storage import filesystem
from mulan.storage.hub import RequiredFiles, is_hub_model
from mulan.storage.weights_cache import weights_folder

MIN_FREE_BYTES = 5 * 10**9
"""The free disk space in bytes that a node with workers needs: a checkpoint of a paper's recipe has 2 GB, and two may
exist at once."""
_GPU_LIMIT_S = 60.0
"""The time limit for counting GPUs with torch; that of the caller may be shorter."""
_COUNT_GPUS = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"

CheckResult = tuple[str, str | None, bool]
"""The name of a check; the problem, or None; and whether the problem is permanent."""


@dataclass(frozen=True)
class NodeRequirements:
    """The requirements on one node."""

    versions: Mapping[str, str]
    """The versions of the job's own process, by name."""
    run_uri: str = ""
    """The run's folder, which must be writable; empty if the node writes nothing."""
    marker_uri: str = ""
    """A file in or above the run's folder that every node must see."""
    corpus_uris: tuple[str, ...] = ()
    """Files of the corpus that must be readable."""
    weights: tuple[tuple[str, RequiredFiles], ...] = ()
    """Pretrained weights, as the recipe names them, with the files that each needs."""
    gpus: int = 0
    """The number of GPUs that Ray counts on the node, all of which torch must see."""
    free_bytes: int = 0
    """The free space needed in the folder for temporary files, in bytes."""

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """Returns the checks by name, in order; each returns a problem or None, or raises a :class:`MulanError`."""
        checks: dict[str, Callable[[], str | None]] = {"versions": partial(_versions, self.versions)}
        if self.free_bytes:
            checks["disk"] = partial(_disk, self.free_bytes)
        if self.corpus_uris:
            checks["corpus"] = partial(_corpus, self.corpus_uris)
        if self.run_uri:
            checks["storage"] = partial(_storage, self.run_uri, self.marker_uri)
        for spec, needed in self.weights:
            checks[needed.field] = partial(_weights, spec, needed)
        if self.gpus:
            checks["GPU"] = partial(_gpus, self.gpus)
        return checks


def run_checks(required: NodeRequirements) -> Iterator[CheckResult]:
    """Runs the checks one after another on this machine, and yields each result at once."""
    for name, check in required.checks().items():
        try:
            yield name, check(), True
        except MulanError as error:
            yield name, str(error), error.exit_code == MulanError.exit_code
        except OSError as error:
            yield name, f"{type(error).__name__}: {error}", True


def versions() -> dict[str, str]:
    """Returns the versions that must be equal in all processes of a run, by name; for ``mulan``, a source checksum."""
    # without the build of torch: nodes without a GPU may have another one
    ray, torch = (importlib.metadata.version(name).partition("+")[0] for name in ("ray", "torch"))
    return {"Python": platform.python_version(), "Ray": ray, "torch": torch, "mulan": _source_sum()}


@cache
def _source_sum() -> str:
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return f"source {digest.hexdigest()[:8]}"


def _versions(wanted: Mapping[str, str]) -> str | None:
    installed = versions()
    differing = [
        f"{name} {installed[name]} instead of {version}"
        for name, version in wanted.items()
        if installed[name] != version
    ]
    if not differing:
        return None
    return f"the node has {', '.join(differing)}, unlike the job's driver; give all nodes the same image"


def _disk(wanted: int) -> str | None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free >= wanted:
        return None
    return (
        f"{free / 1e9:.1f} GB are free in {folder}, and checkpoints need {wanted / 1e9:.0f}; free space, or set TMPDIR "
        "to another folder"
    )


def _corpus(uris: Sequence[str]) -> str | None:
    for uri in uris:
        (content,) = filesystem.read_ranges([uri], [0], [1])
        if isinstance(content, Exception):
            return f"{uri} cannot be read: {content}; put the corpus where every node can read it, such as s3://"
    return None


def _storage(run_uri: str, marker_uri: str) -> str | None:
    if not filesystem.exists(marker_uri):
        return (
            f"{marker_uri}, which the job's driver has just written, is not visible; use a --storage that all nodes "
            "share, such as s3://"
        )
    filesystem.check_writable(run_uri)
    return None


def _weights(spec: str, needed: RequiredFiles) -> str | None:
    if scheme_of(spec) not in ("", *LOCAL_SCHEMES):
        return None if filesystem.names_in(spec) else f"{spec} is empty or does not exist"
    # the hub is not queried: missing files are downloaded when training starts
    if not is_hub_model(spec) or huggingface_hub.constants.HF_HUB_OFFLINE:
        weights_folder(spec, needed)
    return None


def _gpus(counted: int) -> str | None:
    # a process of its own: Ray hides GPUs from tasks that request none, and CUDA would keep memory on each GPU
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        process = subprocess.run(
            [sys.executable, "-c", _COUNT_GPUS], env=environment, capture_output=True, text=True, timeout=_GPU_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return f"torch did not count the GPUs within {_GPU_LIMIT_S:.0f} s; run nvidia-smi on the node"
    words = process.stdout.split()
    if words and int(words[-1]) >= counted:
        return None
    if not words:
        error = (process.stderr.strip().splitlines() or ["no output"])[-1]
        return f"torch cannot count the GPUs: {error}"
    return (
        f"Ray counts {counted} GPU and torch sees {words[-1]}; give the container its GPUs "
        "(NVIDIA_VISIBLE_DEVICES=all, the NVIDIA runtime), and the node a recent enough driver"
    )

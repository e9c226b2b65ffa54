"""What is looked at on a node before it is trained on: it runs there, in a process of its own, and changes nothing."""

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
"""What a node with workers needs: a checkpoint of a paper's recipe has some 2 GB, and lies there twice at times."""
_GPU_LIMIT_S = 60.0
"""In which torch must tell of GPUs; whoever asks may have less patience."""
_COUNT_GPUS = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"

Finding = tuple[str, str | None, bool]
"""What was looked at; what is wrong with it, if anything; and whether another attempt would find the same."""


@dataclass(frozen=True)
class Asked:
    """What a node must have for what is to run there."""

    versions: Mapping[str, str]
    """By name, those of the process that asks."""
    run_uri: str = ""
    """Must be writable; empty where nothing is written."""
    mark_uri: str = ""
    """A file there that is to be seen by all."""
    corpus_uris: tuple[str, ...] = ()
    """Files of the corpus."""
    weights: tuple[tuple[str, RequiredFiles], ...] = ()
    """Pretrained weights, as the recipe names them."""
    gpus: int = 0
    """GPUs that Ray counts there, all of which torch must see."""
    free_bytes: int = 0
    """In the folder of temporary files."""

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """What is looked at, in order, by name; each returns a fault or raises a :class:`MulanError`."""
        checks: dict[str, Callable[[], str | None]] = {"versions": partial(_versions, self.versions)}
        if self.free_bytes:
            checks["disk"] = partial(_disk, self.free_bytes)
        if self.corpus_uris:
            checks["corpus"] = partial(_corpus, self.corpus_uris)
        if self.run_uri:
            checks["storage"] = partial(_storage, self.run_uri, self.mark_uri)
        for spec, needed in self.weights:
            checks[needed.field] = partial(_weights, spec, needed)
        if self.gpus:
            checks["GPU"] = partial(_gpus, self.gpus)
        return checks


def look(asked: Asked) -> Iterator[Finding]:
    """Looks at one thing after another on this machine, and tells each as soon as it is known."""
    for what, check in asked.checks().items():
        try:
            yield what, check(), True
        except MulanError as error:
            yield what, str(error), error.exit_code == MulanError.exit_code
        except OSError as error:
            yield what, f"{type(error).__name__}: {error}", True


def versions() -> dict[str, str]:
    """The versions that all processes of a run must have alike, by name; ``mulan`` with a sum over its source."""
    # without what torch was built for: nodes without a GPU may have another build
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
    there = versions()
    differing = [
        f"{name} {there[name]} and not {version}" for name, version in wanted.items() if there[name] != version
    ]
    if not differing:
        return None
    return f"it has {', '.join(differing)}, as where the job was started; give all nodes the same image"


def _disk(wanted: int) -> str | None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free >= wanted:
        return None
    return (
        f"{free / 1e9:.1f} GB are free in {folder}, and checkpoints want {wanted / 1e9:.0f}; make room, or name "
        "another folder by TMPDIR"
    )


def _corpus(uris: Sequence[str]) -> str | None:
    for uri in uris:
        (got,) = filesystem.read_ranges([uri], [0], [1])
        if isinstance(got, Exception):
            return f"{uri} cannot be read: {got}; put the corpus where every node reads it, such as s3://"
    return None


def _storage(run_uri: str, mark_uri: str) -> str | None:
    if not filesystem.exists(mark_uri):
        return (
            f"{mark_uri}, just written where the job was started, is not there; name a --storage that all nodes "
            "share, such as s3://"
        )
    filesystem.check_writable(run_uri)
    return None


def _weights(spec: str, needed: RequiredFiles) -> str | None:
    if scheme_of(spec) not in ("", *LOCAL_SCHEMES):
        return None if filesystem.names_in(spec) else f"there is nothing in {spec}"
    # the hub is not asked: what is not there yet is downloaded when training starts
    if not is_hub_model(spec) or huggingface_hub.constants.HF_HUB_OFFLINE:
        weights_folder(spec, needed)
    return None


def _gpus(counted: int) -> str | None:
    # a process of its own: Ray hides GPUs from whoever asks for none, and CUDA would keep memory of each
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _COUNT_GPUS], env=seen, capture_output=True, text=True, timeout=_GPU_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return f"torch does not tell of GPUs within {_GPU_LIMIT_S:.0f} s; look at nvidia-smi there"
    words = asked.stdout.split()
    if words and int(words[-1]) >= counted:
        return None
    if not words:
        said = (asked.stderr.strip().splitlines() or ["nothing"])[-1]
        return f"torch cannot be asked for GPUs: {said}"
    return (
        f"Ray counts {counted} GPU there and torch sees {words[-1]}; give the container its GPUs "
        "(NVIDIA_VISIBLE_DEVICES=all, the NVIDIA runtime) and the node a driver that is new enough"
    )

"""Checkpoints: named whole tensors that know neither the number of workers nor the ZeRO stage that wrote them.

A folder holds ``state.safetensors`` (see :meth:`mulan.training.engine.Engine.state`), ``progress.json`` and
``manifest.json``, which names the size of every other file. A folder whose files do not all have those sizes is not a
checkpoint: it was cut off, and the one before it counts.
"""

import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mulan.data import storage

STATE, PROGRESS, MANIFEST = "state.safetensors", "progress.json", "manifest.json"


@dataclass(frozen=True)
class Progress:
    """Where a run stands, besides its tensors."""

    steps_done: int
    replaced: int
    """Recordings replaced so far because they could not be used."""


def checkpoint_name(steps_done: int) -> str:
    return f"checkpoint_{steps_done:09d}"


def write_checkpoint(folder: Path, state: dict[str, torch.Tensor], progress: Progress) -> None:
    save_file(state, folder / STATE)
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)))
    sizes = {name: (folder / name).stat().st_size for name in (STATE, PROGRESS)}
    (folder / MANIFEST).write_text(json.dumps(sizes))


def latest_checkpoint(run_uri: str) -> tuple[str, Progress] | None:
    """URI and progress of a run's newest complete checkpoint, or None."""
    fs, path = storage.filesystem(run_uri)
    fs.invalidate_cache()
    if not fs.isdir(path):
        return None
    names = (entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(path, detail=False))
    for name in sorted((name for name in names if re.fullmatch(r"checkpoint_\d{9}", name)), reverse=True):
        uri = storage.join(run_uri, name)
        if _is_complete(uri):
            return uri, Progress(**json.loads(storage.read_bytes(storage.join(uri, PROGRESS))))
    return None


def read_state(checkpoint_uri: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, on the CPU."""
    fs, path = storage.filesystem(storage.join(checkpoint_uri, STATE))
    if storage.is_local(checkpoint_uri):
        return load_file(path)
    with tempfile.TemporaryDirectory() as folder:
        fs.get_file(path, f"{folder}/{STATE}")
        return load_file(f"{folder}/{STATE}")


def weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's state dict within a checkpoint's tensors."""
    return {name.removeprefix("weights."): tensor for name, tensor in state.items() if name.startswith("weights.")}


def _is_complete(uri: str) -> bool:
    fs, path = storage.filesystem(uri)
    try:
        sizes = json.loads(fs.cat_file(f"{path}/{MANIFEST}"))
        return all(fs.size(f"{path}/{name}") == size for name, size in sizes.items())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False

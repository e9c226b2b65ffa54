"""Checkpoints: named whole tensors that know neither the number of workers nor the ZeRO stage that wrote them.

A folder holds ``state.safetensors`` (see :meth:`mulan.training.engines.base.Engine.state`), ``progress.json`` and,
written last, its manifest (:mod:`mulan.runs.checkpoint_list`). A folder without one, or with files that are not those
of its manifest, is not a checkpoint: it was cut off or spoiled, and the one before it counts.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mulan.runs.checkpoint_list import MANIFEST, CheckpointInfo, checkpoint_name, checkpoints
from mulan.runs.lease import Fence
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError
from mulan.storage.local import TMPDIR_REMEDY, temporary_folder
from mulan.training.state import Checkpoint, Progress

STATE, PROGRESS = "state.safetensors", "progress.json"


@dataclass(frozen=True)
class CheckpointCopy:
    """One whose tensors are in a file of this machine, for as long as that is there."""

    uri: str
    progress: Progress
    state_path: str

    def read(self) -> Checkpoint:
        """The checkpoint; its tensors are mapped from the file, which may be removed afterwards."""
        return Checkpoint(self.uri, self.progress, load_file(self.state_path))


def write_checkpoint(
    run_uri: str,
    state: dict[str, torch.Tensor],
    progress: Progress,
    *,
    score: float | None = None,
    fence: Fence | None = None,
) -> str:
    """Writes a checkpoint into a run's folder, in place of what may be there of the same step; its URI.

    Args:
        fence: of the driver for which it is written; its generation stands in the manifest.

    Raises:
        StorageError: it could not be written; there is none then.
        RunTakenOver: the run has another driver now.
    """
    if fence is not None:
        fence.check()
    uri = filesystem.join(run_uri, checkpoint_name(progress.steps_done))
    filesystem.remove(filesystem.join(uri, MANIFEST))
    with temporary_folder() as folder:
        try:
            save_file(state, Path(folder, STATE))
            Path(folder, PROGRESS).write_text(json.dumps(asdict(progress)))
        except (OSError, SafetensorError) as error:
            # what the library says of a file is a text without an errno
            remedy = "make room there, or" if Path(folder).is_dir() else "it was removed while it was in use:"
            raise StoragePermanentError(
                f"{folder}, where checkpoints are made, takes none: {error}; {remedy} {TMPDIR_REMEDY}; "
                "then the same command goes on"
            ) from error
        files = {name: _digest(Path(folder, name)) for name in (STATE, PROGRESS)}
        for name in files:
            filesystem.upload(str(Path(folder, name)), filesystem.join(uri, name))
    manifest = {"files": files, "score": score, "generation": None if fence is None else fence.generation}
    if fence is not None:
        fence.check()  # once more: what is written above takes minutes
    filesystem.write_atomically(filesystem.join(uri, MANIFEST), json.dumps(manifest).encode())
    return uri


def read_newest(run_uri: str, *, on_corrupt: Callable[[str], None], at_most: int | None = None) -> Checkpoint | None:
    """A run's newest checkpoint that is what was written, or None.

    Args:
        on_corrupt: told of each newer one that is not, in words.
        at_most: only checkpoints of so many steps or fewer.
    """
    with newest_copy(run_uri, on_corrupt=on_corrupt, at_most=at_most) as copy:
        return None if copy is None else copy.read()


@contextmanager
def newest_copy(
    run_uri: str, *, on_corrupt: Callable[[str], None], at_most: int | None = None
) -> Iterator[CheckpointCopy | None]:
    """Makes local files of a run's newest checkpoint for the block, having made sure that they are what was written.

    Where the run is on a disk they are its own. None if there is no such checkpoint. The arguments are those of
    :func:`read_newest`.
    """
    for listed in checkpoints(run_uri):
        if at_most is not None and listed.steps_done > at_most:
            continue
        with temporary_folder() as folder:
            copy = _copied(listed, folder)
            if copy is not None:
                yield copy
                return
        on_corrupt(f"{listed.uri} is spoiled (its files are not those of its manifest); the one before it is used")
    yield None


def _copied(listed: CheckpointInfo, folder: str) -> CheckpointCopy | None:
    paths = {}
    for name, about in listed.files.items():
        paths[name] = filesystem.local_copy(filesystem.join(listed.uri, name), folder)
        if _digest(Path(paths[name])) != about:
            return None
    progress = Progress(**json.loads(Path(paths[PROGRESS]).read_text()))
    return CheckpointCopy(listed.uri, progress, paths[STATE])


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

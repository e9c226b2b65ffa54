"""Checkpoints: named whole tensors, independent of the number of workers and the ZeRO stage that wrote them.

A folder holds ``state.safetensors`` (see :meth:`mulan.training.engines.base.CheckpointedEngine.state`),
``progress.json`` and, written last, its manifest (:mod:`mulan.runs.checkpoint_list`). A folder without a manifest, or
with files that do not match it, is incomplete or corrupt, and the checkpoint before it is used.
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
    """A verified checkpoint with its files on this machine, which exist until :func:`newest_copy` ends."""

    uri: str
    progress: Progress
    state_path: str

    def read(self) -> Checkpoint:
        """Reads the checkpoint; its tensors are mapped from the file, which may be removed afterwards."""
        return Checkpoint(self.uri, self.progress, load_file(self.state_path))


def write_checkpoint(
    run_uri: str,
    state: dict[str, torch.Tensor],
    progress: Progress,
    *,
    score: float | None = None,
    fence: Fence | None = None,
) -> str:
    """Writes a checkpoint into a run's folder, replacing one of the same step, and returns its URI.

    Args:
        run_uri: The run's folder.
        state: Tensors by name, as :meth:`mulan.training.engines.base.CheckpointedEngine.state` returns them.
        progress: Progress of the run.
        score: Validation score of the step; None without validation.
        fence: Fence of the driver for which the checkpoint is written; the manifest records its generation.

    Raises:
        StorageError: The checkpoint could not be written; no checkpoint of this step exists then.
        RunTakenOver: Another driver has taken over the run.
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
            # the library's errors about files have no errno
            remedy = "free space there, or" if Path(folder).is_dir() else "the folder was removed while in use;"
            raise StoragePermanentError(
                f"the checkpoint cannot be written to the temporary folder {folder}: {error}; {remedy} "
                f"{TMPDIR_REMEDY}; then resume with the same command"
            ) from error
        files = {name: _digest(Path(folder, name)) for name in (STATE, PROGRESS)}
        for name in files:
            filesystem.upload(str(Path(folder, name)), filesystem.join(uri, name))
    manifest = {"files": files, "score": score, "generation": None if fence is None else fence.generation}
    if fence is not None:
        fence.check()  # again: writing the files above takes minutes
    filesystem.write_atomically(filesystem.join(uri, MANIFEST), json.dumps(manifest).encode())
    return uri


def read_newest(run_uri: str, *, on_corrupt: Callable[[str], None], max_step: int | None = None) -> Checkpoint | None:
    """Returns a run's newest intact checkpoint; None if there is none.

    Args:
        run_uri: The run's folder.
        on_corrupt: Called with a message about each newer checkpoint that is corrupt.
        max_step: Maximum number of completed steps of the checkpoint; None for any.
    """
    with newest_copy(run_uri, on_corrupt=on_corrupt, max_step=max_step) as copy:
        return None if copy is None else copy.read()


@contextmanager
def newest_copy(
    run_uri: str, *, on_corrupt: Callable[[str], None], max_step: int | None = None
) -> Iterator[CheckpointCopy | None]:
    """Yields a verified local copy of a run's newest intact checkpoint; None if there is none.

    If the run is on a local disk, the copy consists of the checkpoint's own files. The arguments are those of
    :func:`read_newest`.
    """
    for info in checkpoints(run_uri):
        if max_step is not None and info.steps_done > max_step:
            continue
        with temporary_folder() as folder:
            copy = _verified_copy(info, folder)
            if copy is not None:
                yield copy
                return
        on_corrupt(f"{info.uri} is corrupt (its files do not match its manifest); the checkpoint before it is used")
    yield None


def _verified_copy(info: CheckpointInfo, folder: str) -> CheckpointCopy | None:
    paths = {}
    for name, digest in info.files.items():
        paths[name] = filesystem.local_copy(filesystem.join(info.uri, name), folder)
        if _digest(Path(paths[name])) != digest:
            return None
    progress = Progress(**json.loads(Path(paths[PROGRESS]).read_text()))
    return CheckpointCopy(info.uri, progress, paths[STATE])


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

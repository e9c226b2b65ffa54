"""Checkpoints, which do not depend on the number of workers and the ZeRO stage that wrote them.

A folder holds the state in parts, one written by each worker (:mod:`mulan.runs.state_parts`), ``progress.json`` and,
written last, its manifest (:mod:`mulan.runs.checkpoint_list`). A folder without a manifest, or with files that do not
match it, is incomplete or corrupt, and the checkpoint before it is used.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from safetensors import SafetensorError

from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.runs.checkpoint_list import MANIFEST, CheckpointInfo, checkpoint_name, newest_first
from mulan.runs.lease import Fence
from mulan.runs.state_parts import PartCopy, StoredState
from mulan.storage import filesystem
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.storage.local import TMPDIR_REMEDY, temporary_folder
from mulan.training.state import Checkpoint, Progress

PROGRESS, PART_SUFFIX = "progress.json", ".safetensors"
READERS = 4
"""Maximum number of files that are copied and verified at a time."""

Files = dict[str, dict[str, Any]]
"""Size (``bytes``) and digest (``sha256``) of files by name."""
T = TypeVar("T")


@dataclass(frozen=True)
class CheckpointCopy:
    """A verified checkpoint with its files on this machine, which exist until :func:`newest_copy` ends."""

    uri: str
    progress: Progress
    part_paths: tuple[str, ...]

    def open(self) -> Checkpoint:
        """Opens the parts of the checkpoint, which may be removed afterwards."""
        return Checkpoint(self.uri, self.progress, StoredState(self.part_paths))


def write_checkpoint(
    run_uri: str,
    part: PartCopy,
    progress: Progress,
    *,
    score: float | None = None,
    fence: Fence | None = None,
    after: Callable[[], object] = lambda: None,
    group: dist.ProcessGroup | None = None,
) -> str:
    """Writes a checkpoint into a run's folder, replacing one of the same step, and returns its URI. Collective.

    Every worker writes a part. Once all are written, the first worker writes the rest. If one fails, all raise an
    error, and no checkpoint of this step exists.

    Args:
        run_uri: The run's folder.
        part: This worker's share of the state.
        progress: Progress of the run; that of the first worker is written.
        score: Validation score of the step, from the first worker; None without validation.
        fence: Fence of the driver for which the checkpoint is written; the manifest records its generation.
        after: Called on this worker before it writes, to wait for records that must precede the checkpoint.
        group: Group of all workers for the exchange of the results; None for the default one.

    Raises:
        StorageError: A worker could not write its files.
        RunTakenOver: Another driver has taken over the run.
    """
    rank, workers = rank_and_world_size()
    uri = filesystem.join(run_uri, checkpoint_name(progress.steps_done))

    def write_own_part() -> Files:
        after()
        if fence is not None:
            fence.check()
        if rank == 0:  # a manifest of this step does not match parts that others may have replaced already
            filesystem.remove(filesystem.join(uri, MANIFEST))
        return _write_part(uri, f"state-{rank:05d}-of-{workers:05d}{PART_SUFFIX}", part)

    def write_rest() -> None:
        if rank == 0:
            _complete(uri, {name: about for part in parts for name, about in part.items()}, progress, score, fence)

    parts = _on_all_workers(write_own_part, group)
    _on_all_workers(write_rest, group)
    return uri


def _on_all_workers(function: Callable[[], T], group: dist.ProcessGroup | None) -> list[T]:
    """Returns the results of a function on all workers; if it fails on one, all raise an error. Collective."""
    result: T | None = None
    failure: Exception | None = None
    try:
        result = function()
    except Exception as error:  # the others wait for this worker
        failure = error
    results = all_gather_objects((result, failure and str(failure)), group)
    if failure is not None:
        raise failure
    for _, fault in results:
        if fault is not None:
            raise StorageError(fault)
    return [one for one, _ in results]


def _write_part(uri: str, name: str, part: PartCopy) -> Files:
    with temporary_folder() as folder:
        path = Path(folder, name)
        try:
            part.write(path)
        except (OSError, SafetensorError) as error:
            # the library's errors about files have no errno
            remedy = "free space there, or" if Path(folder).is_dir() else "the folder was removed while in use;"
            raise StoragePermanentError(
                f"the checkpoint cannot be written to the temporary folder {folder}: {error}; {remedy} "
                f"{TMPDIR_REMEDY}; then resume with the same command"
            ) from error
        files = {name: _digest(path)}
        filesystem.upload(str(path), filesystem.join(uri, name))
    return files


def _complete(uri: str, parts: Files, progress: Progress, score: float | None, fence: Fence | None) -> None:
    content = json.dumps(asdict(progress)).encode()
    filesystem.write_atomically(filesystem.join(uri, PROGRESS), content)
    about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    generation = None if fence is None else fence.generation
    manifest = {"files": parts | {PROGRESS: about}, "score": score, "generation": generation}
    if fence is not None:
        fence.check()  # again: writing the files above takes minutes
    filesystem.write_atomically(filesystem.join(uri, MANIFEST), json.dumps(manifest).encode())


def read_newest(run_uri: str, *, on_corrupt: Callable[[str], None], max_step: int | None = None) -> Checkpoint | None:
    """Returns a run's newest intact checkpoint; None if there is none.

    Args:
        run_uri: The run's folder.
        on_corrupt: Called with a message about each newer checkpoint that is corrupt.
        max_step: Maximum number of completed steps of the checkpoint; None for any.
    """
    with newest_copy(run_uri, on_corrupt=on_corrupt, max_step=max_step) as copy:
        return None if copy is None else copy.open()


@contextmanager
def newest_copy(
    run_uri: str, *, on_corrupt: Callable[[str], None], max_step: int | None = None
) -> Iterator[CheckpointCopy | None]:
    """Yields a verified local copy of a run's newest intact checkpoint; None if there is none.

    If the run is on a local disk, the copy consists of the checkpoint's own files. The arguments are those of
    :func:`read_newest`.
    """
    for info in newest_first(run_uri):
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
    def copy(name: str) -> str | None:
        path = filesystem.local_copy(filesystem.join(info.uri, name), folder)
        return path if _digest(Path(path)) == info.files[name] else None

    with ThreadPoolExecutor(READERS) as threads:
        paths = dict(zip(info.files, threads.map(copy, info.files), strict=True))
    verified = {name: path for name, path in paths.items() if path is not None}
    if len(verified) < len(paths):
        return None
    progress = Progress(**json.loads(Path(verified[PROGRESS]).read_text()))
    parts = tuple(path for name, path in sorted(verified.items()) if name.endswith(PART_SUFFIX))
    return CheckpointCopy(info.uri, progress, parts)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

"""Checkpoints, which do not depend on the number of workers and the ZeRO stage that wrote them.

A folder holds the state in parts, one written by each worker (:mod:`mulan.runs.state_parts`), a file with the progress
and, written last, its manifest (:mod:`mulan.runs.checkpoint_list`). A folder without a manifest is incomplete. If files
do not match the manifest or one another, the checkpoint is corrupt. In both cases the one before it is used.
"""

import hashlib
import json
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from safetensors import SafetensorError

from mulan.config.errors import MulanError
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.runs.checkpoint_list import (
    MANIFEST,
    PART_SUFFIX,
    CheckpointInfo,
    checkpoint_name,
    is_progress,
    newest_first,
    part_name,
    progress_name,
)
from mulan.runs.lease import Fence
from mulan.runs.state_parts import PartCopy, StoredState, UnfitParts
from mulan.storage import filesystem
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.storage.local import TMPDIR_REMEDY, temporary_folder
from mulan.storage.retries import RETRY_TIMEOUT_S
from mulan.training.state import Checkpoint, Progress

EXCHANGE_TIMEOUT_S = 10 * RETRY_TIMEOUT_S + 3 * 3600.0
"""Time in seconds that a worker waits until the slowest one has written its files.

Before an exchange, a worker uses storage up to ten times (records, lease, part, manifest), and each time may fail for
:data:`~mulan.storage.retries.RETRY_TIMEOUT_S`; a part of 100 GB at 10 MB/s takes under three hours. Meanwhile training
continues until the next checkpoint is due. The loss of a worker ends the wait at once, as its connections are closed.
"""
READERS = 4
"""Maximum number of files that are copied and verified at a time."""

Files = dict[str, dict[str, Any]]
"""Size (``bytes``) and digest (``sha256``) of files by name."""
T = TypeVar("T")


class ExchangeFailed(RuntimeError):
    """Raised when workers cannot tell one another whether they have written their parts of a checkpoint.

    Mostly a worker was lost, and another attempt continues from the checkpoint before; so it is no error of the user.
    """


@dataclass(frozen=True)
class CheckpointCopy:
    """A verified checkpoint with its files on this machine, which exist until :func:`newest_copy` ends."""

    uri: str
    progress: Progress
    part_paths: tuple[str, ...]

    def open(self) -> Checkpoint:
        """Opens the parts of the checkpoint, which may be removed afterwards.

        Raises:
            StorageError: A file cannot be opened any more.
        """
        try:
            return Checkpoint(self.uri, self.progress, StoredState(self.part_paths))
        except OSError as error:
            raise StorageError(f"{self.uri} cannot be opened: {error}; run the same command again to resume") from error


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

    Each worker checks the lease, writes its part to the temporary folder, moves it to the run's folder, and tells the
    others. Once all parts are there, the first worker writes the progress and the manifest, and tells the others. If
    anything fails on a worker, it raises that error, and the others a :class:`StorageError` with its message; then no
    manifest is written, and a checkpoint of the same step remains as it was.

    Args:
        run_uri: The run's folder.
        part: This worker's share of the state.
        progress: Progress of the run; that of the first worker is written.
        score: Validation score of the step, from the first worker; None without validation.
        fence: Fence of the driver for which the checkpoint is written; the manifest records its generation.
        after: Called on this worker before it writes, to wait for records that must precede the checkpoint.
        group: Group of all workers for the exchange of the results; None for the default one.

    Raises:
        StorageError: This worker or another one could not write its files.
        RunTakenOver: Another driver has taken over the run.
        ExchangeFailed: A worker was lost, writes a checkpoint of another step, or took longer than the timeout of the
            group. The checkpoint may be complete nevertheless.
    """
    rank, workers = rank_and_world_size()
    uri = filesystem.join(run_uri, checkpoint_name(progress.steps_done))
    generation = None if fence is None else fence.generation

    def write_own_part() -> Files:
        after()
        if fence is not None:
            fence.check()
        return _write_part(uri, part_name(rank, workers, generation), part)

    def write_rest() -> None:
        if rank == 0:
            _complete(uri, {name: about for part in parts for name, about in part.items()}, progress, score, fence)

    parts = _on_all_workers(write_own_part, uri, group)
    _on_all_workers(write_rest, uri, group)
    return uri


def describe(error: Exception) -> str:
    """Returns the message of an error, with its class unless it is one for users."""
    return str(error) if isinstance(error, OSError | MulanError) else f"{type(error).__name__}: {error}"


def _on_all_workers(function: Callable[[], T], uri: str, group: dist.ProcessGroup | None) -> list[T]:
    """Returns the results of a function on all workers; if it fails on one, all raise an error. Collective.

    Args:
        uri: Checkpoint for which it is called, which must be the same on all workers.
    """
    result: T | None = None
    failure: Exception | None = None
    try:
        result = function()
    except Exception as error:  # the others wait for this worker
        failure = error
    try:
        results = _exchanged((uri, result, failure and describe(failure)), uri, group)
    except ExchangeFailed:
        if failure is None:
            raise
    try:
        if failure is not None:
            raise failure
    finally:
        failure = None  # its traceback refers to this frame
    for _, _, fault in results:
        if fault is not None:
            raise StorageError(fault)
    return [one for _, one, _ in results]


def _exchanged(own: Any, uri: str, group: dist.ProcessGroup | None) -> list[Any]:
    """Gathers values whose first element is the checkpoint's URI, which must be the same on all workers."""
    try:
        gathered = all_gather_objects(own, group)
    except RuntimeError as error:
        reason = f"a worker was lost, or its storage took longer than the timeout: {textwrap.shorten(str(error), 200)}"
    else:
        uris = sorted({one[0] for one in gathered})
        if len(uris) == 1:
            return gathered
        reason = f"they write different ones, {' and '.join(uris)}"
    raise ExchangeFailed(
        f"{uri} may be incomplete, because the workers could not tell one another that their parts are written: "
        f"{reason}; run the same command again to resume from the newest complete checkpoint"
    )


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
    about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    generation = None if fence is None else fence.generation
    name = progress_name(generation)
    filesystem.write_atomically(filesystem.join(uri, name), content)
    manifest = {"files": parts | {name: about}, "score": score, "generation": generation}
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
            if isinstance(copy, CheckpointCopy):
                yield copy
                return
        on_corrupt(f"{info.uri} is corrupt ({copy}); the checkpoint before it is used")
    yield None


def _verified_copy(info: CheckpointInfo, folder: str) -> CheckpointCopy | str:
    """Returns a copy of a checkpoint whose files match the manifest and one another, or why it is corrupt."""

    def copy(name: str) -> str | None:
        path = filesystem.local_copy(filesystem.join(info.uri, name), folder)
        return path if _digest(Path(path)) == info.files[name] else None

    with ThreadPoolExecutor(READERS) as threads:
        paths = dict(zip(info.files, threads.map(copy, info.files), strict=True))
    verified = {name: path for name, path in paths.items() if path is not None}
    if len(verified) < len(paths):
        return "its files do not match its manifest"
    progress_paths = [path for name, path in verified.items() if is_progress(name)]
    parts = tuple(path for name, path in sorted(verified.items()) if name.endswith(PART_SUFFIX))
    try:
        (progress_path,) = progress_paths
        progress = Progress(**json.loads(Path(progress_path).read_text()))
    except (ValueError, TypeError) as error:
        return f"its progress cannot be read: {error}"
    try:
        StoredState(parts).close()
    except UnfitParts as error:
        return str(error)
    return CheckpointCopy(info.uri, progress, parts)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

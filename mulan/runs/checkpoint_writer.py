"""Saves checkpoints: training pauses while each worker copies its share of the state, which it writes in a thread."""

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import torch.distributed as dist

from mulan.config.errors import MulanError
from mulan.distributed.collectives import rank_and_world_size
from mulan.runs.checkpoint import write_checkpoint
from mulan.runs.checkpoint_list import checkpoint_name, checkpoint_names, checkpoints, remove_checkpoint
from mulan.runs.lease import Fence
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.training.state import Progress
from mulan.training.tensor_slices import TensorSlice


class CheckpointFailed(StorageError):
    """Raised when a checkpoint could not be written. The previous one is still valid."""


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenCheckpoint:
    """A checkpoint that has been written completely."""

    steps_done: int
    """The step of the checkpoint."""
    seconds: float
    """The time from the request to the complete checkpoint, in seconds; training continues meanwhile."""


class CheckpointWriter:
    """Writes the checkpoints of a run in a thread; a context manager that waits at its end until all are written.

    Every worker has one, and calls its methods in the same steps. Failing storage is retried in the thread, and
    training continues until the next checkpoint is due. Nothing is removed before a newer checkpoint is complete.
    """

    def __init__(
        self,
        run_uri: str,
        *,
        keep_latest: int,
        keep_best: int,
        fence: Fence | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """
        Args:
            run_uri: The run's folder.
            keep_latest: Number of latest checkpoints to keep.
            keep_best: Number of checkpoints with the highest scores to keep in addition.
            fence: Fence of the driver for which checkpoints are written; None if it holds no lease.
            group: Group of all workers that only this object uses
                (:func:`mulan.distributed.collectives.background_group`).
        """
        self._fence, self._group = fence, group
        self._run_uri, self._keep_latest, self._keep_best = run_uri, keep_latest, keep_best
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self.written: WrittenCheckpoint | None = None
        """The latest checkpoint that has been written completely; None before the first one."""

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.wait()

    def save(
        self,
        own: Iterable[TensorSlice],
        progress: Progress,
        *,
        score: float | None = None,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        """Copies this worker's share of the state and starts writing it, once the previous checkpoint is written.

        Does nothing if that one could not be written; with :meth:`error`, all workers learn of it in the same step.

        Args:
            own: The share of this worker (:meth:`mulan.training.engines.base.CheckpointedEngine.own_state`).
            progress: Progress of the run; that of the first worker is written.
            score: Validation score of the step, from the first worker; None without validation.
            after: Called in the thread before this worker writes; waits for the records that must precede it.

        Raises:
            RuntimeError: The previous checkpoint is incomplete since another worker was lost.
        """
        try:
            self.wait()  # so that there is only one copy at a time
        except CheckpointFailed:
            return
        self._writing = self._thread.submit(self._write, PartCopy(own), progress, score, after, time.monotonic())

    def wait(self) -> None:
        """Waits until the latest checkpoint is written.

        Raises:
            CheckpointFailed: The checkpoint could not be written.
            RuntimeError: Another worker was lost.
        """
        if self._writing is not None:
            self._writing.result()

    def error(self) -> StorageError | None:
        """Returns why the latest checkpoint could not be written, once that is known; None if it has not failed."""
        error = self._writing.exception() if self._writing is not None and self._writing.done() else None
        return StorageError(str(error)) if isinstance(error, CheckpointFailed) else None  # not if a worker was lost

    def _write(
        self,
        part: PartCopy,
        progress: Progress,
        score: float | None,
        after: Callable[[], object],
        requested_s: float,
    ) -> None:
        try:
            write_checkpoint(
                self._run_uri, part, progress, score=score, fence=self._fence, after=after, group=self._group
            )
        except (OSError, MulanError) as error:
            raise CheckpointFailed(
                f"the checkpoint of step {progress.steps_done} could not be written; the one before it is kept: {error}"
            ) from error
        self.written = WrittenCheckpoint(progress.steps_done, time.monotonic() - requested_s)
        if rank_and_world_size()[0] > 0:
            return
        try:
            self._remove_older(progress.steps_done)
        except (OSError, MulanError) as error:
            log.warning("older checkpoints of %s could not be removed: %s", self._run_uri, error)

    def _remove_older(self, newest: int) -> None:
        """Removes checkpoints that need not be kept, and the remains of incomplete ones."""
        complete = checkpoints(self._run_uri)
        scored = sorted((info for info in complete if info.score is not None), key=lambda info: -(info.score or 0.0))
        kept = {info.uri for info in [*complete[: self._keep_latest], *scored[: self._keep_best]]}
        for name in checkpoint_names(self._run_uri):
            uri = filesystem.join(self._run_uri, name)
            if name < checkpoint_name(newest) and uri not in kept:
                remove_checkpoint(uri)

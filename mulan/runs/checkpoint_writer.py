"""Writes checkpoints in the background, one at a time, and removes older ones when a newer one is complete."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import torch

from mulan.config.errors import MulanError
from mulan.runs.checkpoint import write_checkpoint
from mulan.runs.checkpoint_list import checkpoint_name, checkpoint_names, checkpoints, remove_checkpoint
from mulan.runs.lease import Fence
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.training.state import Progress


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

    Failing storage is retried in the thread, and training continues until the next checkpoint is due. Nothing is
    removed before a newer checkpoint is complete.
    """

    def __init__(self, run_uri: str, *, keep_latest: int, keep_best: int, fence: Fence | None = None) -> None:
        """
        Args:
            run_uri: The run's folder.
            keep_latest: Number of latest checkpoints to keep.
            keep_best: Number of checkpoints with the highest scores to keep in addition.
            fence: Fence of the driver for which checkpoints are written; None if it holds no lease.
        """
        self._fence = fence
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

    def write(
        self,
        state: dict[str, torch.Tensor],
        progress: Progress,
        *,
        score: float | None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts writing a checkpoint once the previous one is written; does nothing if that one failed.

        Only one worker writes; with :meth:`error` it can share a failure with all workers in the same step.

        Args:
            state: Tensors by name.
            progress: Progress of the run.
            score: Validation score of the step; None without validation.
            after: Called before the checkpoint is written; waits for the records that must precede it.
        """
        if self._writing is not None and self._writing.exception() is not None:  # waits
            return
        self._writing = self._thread.submit(self._write, state, progress, score, after, time.monotonic())

    def wait(self) -> None:
        """Waits until the latest checkpoint is written.

        Raises:
            CheckpointFailed: The checkpoint could not be written.
        """
        if self._writing is not None:
            self._writing.result()

    def error(self) -> str | None:
        """Returns why the latest checkpoint could not be written, once that is known; None if it has not failed."""
        error = self._writing.exception() if self._writing is not None and self._writing.done() else None
        return None if error is None else str(error)

    def _write(
        self,
        state: dict[str, torch.Tensor],
        progress: Progress,
        score: float | None,
        after: Callable[[], None],
        requested_s: float,
    ) -> None:
        try:
            after()
            write_checkpoint(self._run_uri, state, progress, score=score, fence=self._fence)
        except (OSError, MulanError) as error:
            raise CheckpointFailed(
                f"the checkpoint of step {progress.steps_done} could not be written; the one before it is kept: {error}"
            ) from error
        self.written = WrittenCheckpoint(progress.steps_done, time.monotonic() - requested_s)
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

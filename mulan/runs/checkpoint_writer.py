"""Checkpoints are written beside training, one at a time; older ones go when a newer one stands."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
    """A checkpoint could not be written. The one before it stands."""


log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes the checkpoints of a run, in a thread; a context, which ends when all are written.

    Storage that fails is tried again meanwhile, and training goes on until the next checkpoint is due. Nothing is
    removed before a newer checkpoint is whole.
    """

    def __init__(self, run_uri: str, *, keep_latest: int, keep_best: int, fence: Fence | None = None) -> None:
        """
        Args:
            keep_latest: the newest so many stay,
            keep_best: and so many besides, those with the highest scores.
            fence: of the driver for which they are written, if that holds the run's lease.
        """
        self._fence = fence
        self._run_uri, self._newest_kept, self._best_kept = run_uri, keep_latest, keep_best
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

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
        """Begins to write a checkpoint, after the one before is written. If that could not be, nor is this one.

        Only one of several workers writes: that it failed is for all of them to hear at once, by :meth:`fault`.

        Args:
            after: waits for what must be written before the checkpoint counts.
        """
        if self._writing is not None and self._writing.exception() is not None:  # waits
            return
        self._writing = self._thread.submit(self._write, state, progress, score, after)

    def wait(self) -> None:
        """Until what was begun is written.

        Raises:
            CheckpointFailed: it could not be.
        """
        if self._writing is not None:
            self._writing.result()

    def fault(self) -> str | None:
        """Why the newest checkpoint could not be written, as soon as that is known."""
        error = self._writing.exception() if self._writing is not None and self._writing.done() else None
        return None if error is None else str(error)

    def _write(
        self, state: dict[str, torch.Tensor], progress: Progress, score: float | None, after: Callable[[], None]
    ) -> None:
        try:
            after()
            write_checkpoint(self._run_uri, state, progress, score=score, fence=self._fence)
        except (OSError, MulanError) as error:
            raise CheckpointFailed(
                f"the checkpoint of step {progress.steps_done} could not be written; the one before it stands: {error}"
            ) from error
        try:
            self._remove_older(progress.steps_done)
        except (OSError, MulanError) as error:
            log.warning("older checkpoints of %s could not be removed: %s", self._run_uri, error)

    def _remove_older(self, newest: int) -> None:
        """Checkpoints that need not be kept, and what is left of some that were never whole."""
        whole = checkpoints(self._run_uri)
        scored = sorted((one for one in whole if one.score is not None), key=lambda one: -(one.score or 0.0))
        kept = {one.uri for one in [*whole[: self._newest_kept], *scored[: self._best_kept]]}
        for name in checkpoint_names(self._run_uri):
            uri = filesystem.join(self._run_uri, name)
            if name < checkpoint_name(newest) and uri not in kept:
                remove_checkpoint(uri)

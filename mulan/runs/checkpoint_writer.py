"""Saves checkpoints: training pauses while each worker copies its share of the state, which it writes in a thread."""

import concurrent.futures
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from mulan.config.errors import MulanError
from mulan.distributed.collectives import background_group, rank_and_world_size
from mulan.runs.checkpoint import EXCHANGE_TIMEOUT_S, ExchangeFailed, describe, write_checkpoint
from mulan.runs.checkpoint_list import (
    checkpoint_name,
    checkpoint_names,
    checkpoints,
    remove_checkpoint,
    remove_unlisted,
)
from mulan.runs.lease import Fence
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.training.state import Progress
from mulan.training.tensor_slices import TensorSlice


class CheckpointFailed(StorageError):
    """Raised when a checkpoint could not be written. The previous one is still valid."""


_WAIT_AFTER_ERROR_S = 600.0
"""Time in seconds that a worker which ends with an error waits for the checkpoint: another worker may hang, and no
restart begins before this one has ended."""

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

    def __init__(self, run_uri: str, *, keep_latest: int, keep_best: int, fence: Fence | None = None) -> None:
        """Collective: all workers exchange their results in a group that only this object uses.

        Args:
            run_uri: The run's folder.
            keep_latest: Number of latest checkpoints to keep.
            keep_best: Number of checkpoints with the highest scores to keep in addition.
            fence: Fence of the driver for which checkpoints are written; None if it holds no lease.
        """
        self._fence, self._group = fence, background_group(EXCHANGE_TIMEOUT_S)
        self._run_uri, self._keep_latest, self._keep_best = run_uri, keep_latest, keep_best
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[CheckpointFailed | ExchangeFailed | None] | None = None
        self.written: WrittenCheckpoint | None = None
        """The latest checkpoint that has been written completely; None before the first one."""

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._group is None or self._writing is None:
            self._thread.shutdown(wait=True)
        elif concurrent.futures.wait([self._writing], timeout=_WAIT_AFTER_ERROR_S).not_done:
            log.warning("training has failed, and the checkpoint that is being written is given up")
            self._thread.shutdown(wait=False, cancel_futures=True)
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
        """
        if self._writing is not None and self._writing.result() is not None:
            return  # waited for, so that there is only one copy at a time
        self._writing = self._thread.submit(self._write, PartCopy(own), progress, score, after, time.monotonic())
        self._thread.submit(self._remove_older, progress.steps_done)  # the other workers do not wait for it

    def wait(self) -> None:
        """Waits until the latest checkpoint is written.

        Raises:
            CheckpointFailed: The checkpoint could not be written.
            ExchangeFailed: Another worker was lost, or has not written its part in time.
        """
        failure = None if self._writing is None else self._writing.result()
        if failure is not None:
            raise failure

    def error(self) -> StorageError | None:
        """Returns why the latest checkpoint could not be written, once that is known; None if it has not failed.

        If a worker was lost, the others cannot exchange it, and are restarted.
        """
        failure = self._writing.result() if self._writing is not None and self._writing.done() else None
        return None if failure is None else StorageError(str(failure))

    def _write(
        self,
        part: PartCopy,
        progress: Progress,
        score: float | None,
        after: Callable[[], object],
        requested_s: float,
    ) -> CheckpointFailed | ExchangeFailed | None:
        try:
            write_checkpoint(
                self._run_uri, part, progress, score=score, fence=self._fence, after=after, group=self._group
            )
        except Exception as error:  # of any kind: nobody looks at this thread
            if not isinstance(error, OSError | MulanError | ExchangeFailed):
                log.exception("the checkpoint of step %d: an unexpected error", progress.steps_done)
            if isinstance(error, ExchangeFailed):
                return ExchangeFailed(str(error))
            return CheckpointFailed(
                f"the checkpoint of step {progress.steps_done} could not be written; the one before it is kept: "
                f"{describe(error)}"
            )
        finally:
            part.release()
        self.written = WrittenCheckpoint(progress.steps_done, time.monotonic() - requested_s)
        return None

    def _remove_older(self, newest: int) -> None:
        """Removes checkpoints that need not be kept, and the remains of incomplete ones."""
        if rank_and_world_size()[0] > 0 or self.written is None or self.written.steps_done != newest:
            return
        try:
            complete = checkpoints(self._run_uri)
            scored = sorted((one for one in complete if one.score is not None), key=lambda one: -(one.score or 0.0))
            kept = {one.uri for one in [*complete[: self._keep_latest], *scored[: self._keep_best]]}
            for name in checkpoint_names(self._run_uri):
                uri = filesystem.join(self._run_uri, name)
                if name < checkpoint_name(newest) and uri not in kept:
                    remove_checkpoint(uri)
            for one in complete:
                if one.steps_done == newest:
                    remove_unlisted(one, None if self._fence is None else self._fence.generation)
        except Exception as error:  # training can continue, and nobody looks at this thread
            expected = isinstance(error, OSError | MulanError)
            text = "older checkpoints of %s could not be removed: %s"
            log.warning(text, self._run_uri, describe(error), exc_info=not expected)

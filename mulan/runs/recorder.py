"""What a run leaves in its folder while it is trained: metrics, events, quarantine and checkpoints."""

import io
import logging
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.config.terms import selection_metric
from mulan.data.errors import SkippedRecording
from mulan.runs.checkpoint_writer import CheckpointWriter
from mulan.runs.lease import Fence, RunTakenOver
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesLog
from mulan.training.health import Anomaly
from mulan.training.state import Progress

SCHEMA = pa.schema(
    [("recording_id", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("first_step", pa.int64())]
)


class Quarantine:
    """A row for each recording, however often the plan comes back to it; the file is always whole."""

    def __init__(self, uri: str, *, keep_steps: int) -> None:
        """Continues a file that is there; rows first met after ``keep_steps`` are dropped, and will be met again."""
        self._uri = uri
        self._rows = {row["recording_id"]: row for row in read_quarantine(uri) if row["first_step"] <= keep_steps}
        self._changed = True

    def add(self, step: int, skipped: Iterable[SkippedRecording]) -> None:
        for bad in skipped:
            if bad.name not in self._rows:
                self._rows[bad.name] = {
                    "recording_id": bad.name,
                    "reason": bad.reason,
                    "detail": bad.detail,
                    "first_step": step,
                }
                self._changed = True

    def flush(self) -> None:
        """Writes the file if there is anything new. Another thread may add rows meanwhile.

        Raises:
            StorageError: it could not be written; what was there still is.
        """
        if not self._changed:
            return
        self._changed = False  # what is added from here on is for the next time
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(self._rows.values()), SCHEMA), buffer)
        try:
            filesystem.write_atomically(self._uri, buffer.getvalue())
        except StorageError:
            self._changed = True
            raise


def read_quarantine(uri: str) -> list[dict[str, Any]]:
    """Its rows, in the order in which they were met; none where there is no file."""
    if not filesystem.exists(uri):
        return []
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(filesystem.read_bytes(uri))).to_pylist()
    return rows


log = logging.getLogger(__name__)


class Recorder(AbstractContextManager["Recorder"]):
    """Of one worker, for all of them. At its end everything is written.

    Nothing here waits for storage but the end, and a checkpoint for the one before it: records are written in a thread,
    so that no other worker waits in a collective while storage is asked again. :meth:`storage_error` says
    that storage failed, for all workers to end alike.
    """

    _PERIOD_S = 30.0
    """Between two writings of the records, besides those before each checkpoint."""
    _LOCAL_PERIOD_S = 1.0
    """Between two looks at whether the run is still ours, where each line is written at once."""

    def __init__(self, run: Run, recipe: Recipe, *, first_step: int, fence: Fence | None = None) -> None:
        """
        Args:
            fence: of the driver for which is recorded, if that holds the run's lease.

        Raises:
            StorageError: the run's folder cannot be read or written.
            RunTakenOver: the run has another driver now.
        """
        self._run, self._fence, self._is_local = run, fence, filesystem.is_local(run.uri)
        self._checked_s = -math.inf
        self._check_lease()
        self._metrics = JsonLinesLog(run.metrics_uri, keep_steps=first_step)
        self._events = JsonLinesLog(run.events_uri)
        self._quarantine = Quarantine(run.quarantine_uri, keep_steps=first_step)
        self._score = selection_metric(recipe.loss.weights).name
        self._checkpoints = CheckpointWriter(
            run.uri,
            keep_latest=recipe.train.keep_latest_checkpoints,
            keep_best=recipe.train.keep_best_checkpoints,
            fence=fence,
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")
        self._flushed_s = time.monotonic()
        self._step = first_step
        self._fault: str | None = None
        self._flushing: Future[None] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._checkpoints.__exit__(kind, error, trace)
        finally:
            if self._fault is None:
                self.flush()
            self._thread.shutdown(wait=True)
            if self._fault is not None:
                log.error("%s", self._fault)
        if error is None and self._fault is not None:
            raise StorageError(self._fault)

    def step(self, line: dict[str, Any]) -> None:
        self._step = line["step"]
        self._append(self._metrics, [line])
        if time.monotonic() - self._flushed_s > self._PERIOD_S:
            self.flush()

    def skipped(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        self._quarantine.add(step, recordings)

    def event(self, text: str) -> None:
        """Something that whoever watches the run should know, now: there may be no step for long."""
        self._append(self._events, [{"time": time.time(), "step": self._step, "event": text}])
        if not self._is_local:
            self.flush()

    def anomaly(self, anomaly: Anomaly) -> None:
        """Begins to write an anomaly: an event, and a file that names the recordings."""
        self._thread.submit(self._write_anomaly, anomaly)
        self._flushing = None  # one that waits already would be before it

    def _write_anomaly(self, anomaly: Anomaly) -> None:
        uri, text = self._run.anomaly_uri(anomaly.step), anomaly.message
        try:
            self._check_lease()
            filesystem.write_atomically(uri, anomaly.to_json().encode())
            text += f"; its recordings: {uri}; to look into it: {self._run.replay_command(anomaly.step)}"
        except (OSError, MulanError) as error:  # must not hide the anomaly
            text += f"; its recordings could not be written to {uri}: {error}"
        self._append(self._events, [{"time": time.time(), "step": anomaly.step, "event": text}])

    def checkpoint(self, state: dict[str, torch.Tensor], metrics: dict[str, Any], progress: Progress) -> None:
        """Begins to write one, with the records of all steps up to it: a run that resumes there has them."""
        score, records = metrics.get(f"validation_{self._score}"), self.flush()
        self._checkpoints.write(state, progress, score=score, after=records.result)

    def storage_error(self) -> StorageError | None:
        """Returns why the records or the newest checkpoint could not be written; None if nothing has failed."""
        fault = self._fault or self._checkpoints.fault()
        return None if fault is None else StorageError(fault)

    def flush(self) -> Future[None]:
        """Begins to write all records so far."""
        self._flushed_s = time.monotonic()
        begun = self._flushing
        if begun is None or begun.running() or begun.done():  # one that only waits will write these too
            begun = self._flushing = self._thread.submit(self._flush)
        return begun

    def _flush(self) -> None:
        if self._fault is not None:
            raise StorageError(self._fault)
        try:
            self._check_lease()
            self._metrics.flush()
            self._events.flush()
            self._quarantine.flush()
        except (StorageError, RunTakenOver) as error:
            self._fault = str(error)
            raise

    def _append(self, records: JsonLinesLog, lines: Iterable[dict[str, Any]]) -> None:
        try:
            if self._is_local and time.monotonic() - self._checked_s > self._LOCAL_PERIOD_S:
                self._check_lease()
            records.append(lines)
        except (StorageError, RunTakenOver) as error:
            self._fault = self._fault or str(error)
        except OSError as error:
            self._fault = self._fault or (
                f"the records of {self._run.uri} take no more lines: {error.strerror}; make room there; then the same "
                "command goes on from the newest checkpoint"
            )

    def _check_lease(self) -> None:
        if self._fence is not None:
            self._fence.check()
        self._checked_s = time.monotonic()

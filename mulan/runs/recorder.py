"""The recorder, which writes metrics, events and the quarantine to a run's folder during training."""

import io
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.config.errors import MulanError
from mulan.data.errors import SkippedRecording
from mulan.runs.lease import Fence, RunTakenOver
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesLog
from mulan.training.health import Anomaly

SCHEMA = pa.schema(
    [("recording_id", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("first_step", pa.int64())]
)


class Quarantine:
    """The table of skipped recordings, with one row for each, however often the plan selects it."""

    def __init__(self, uri: str, *, keep_steps: int) -> None:
        """Continues an existing file without the rows that were first added after step ``keep_steps``."""
        self._uri = uri
        self._rows = {row["recording_id"]: row for row in read_quarantine(uri) if row["first_step"] <= keep_steps}
        self._changed = True

    def add(self, step: int, skipped: Iterable[SkippedRecording]) -> None:
        """Adds rows for the recordings that were skipped in a step, unless they have one."""
        for recording in skipped:
            if recording.name not in self._rows:
                self._rows[recording.name] = {
                    "recording_id": recording.name,
                    "reason": recording.reason,
                    "detail": recording.detail,
                    "first_step": step,
                }
                self._changed = True

    def flush(self) -> None:
        """Writes the file atomically if there are new rows. Another thread may add rows meanwhile.

        Raises:
            StorageError: The file could not be written; its old content is kept.
        """
        if not self._changed:
            return
        self._changed = False  # rows added from here on are written the next time
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(self._rows.values()), SCHEMA), buffer)
        try:
            filesystem.write_atomically(self._uri, buffer.getvalue())
        except StorageError:
            self._changed = True
            raise


def read_quarantine(uri: str) -> list[dict[str, Any]]:
    """Returns the rows of a quarantine file in the order in which they were added; empty if there is no file."""
    if not filesystem.exists(uri):
        return []
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(filesystem.read_bytes(uri))).to_pylist()
    return rows


log = logging.getLogger(__name__)


class Recorder(AbstractContextManager["Recorder"]):
    """Writes the records of a run; only one of the workers has a recorder.

    A context manager that writes everything at its end. Records are written in a thread, so that no other worker waits
    in a collective while storage is retried. :meth:`storage_error` reports a failure, so that all workers stop in the
    same step.
    """

    _PERIOD_S = 30.0
    """Time between two writes of the records, which are also written before each checkpoint."""
    _LOCAL_PERIOD_S = 1.0
    """Time between two checks of the lease on local storage, where each line is written immediately."""

    def __init__(self, run: Run, *, first_step: int, fence: Fence | None = None) -> None:
        """
        Args:
            run: Run whose folder is written.
            first_step: Number of steps done by the checkpoint from which the run resumes; later records are dropped.
            fence: Fence of the driver; None if it holds no lease.

        Raises:
            StorageError: The run's folder cannot be read or written.
            RunTakenOver: Another driver has taken over the run.
        """
        self._run, self._fence, self._is_local = run, fence, filesystem.is_local(run.uri)
        self._checked_s = -math.inf
        self._check_lease()
        self._metrics = JsonLinesLog(run.metrics_uri, keep_steps=first_step)
        self._events = JsonLinesLog(run.events_uri)
        self._quarantine = Quarantine(run.quarantine_uri, keep_steps=first_step)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")
        self._flushed_s = time.monotonic()
        self._step = first_step
        self._error: str | None = None
        self._flushing: Future[None] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._error is None:
            self.flush()
        self._thread.shutdown(wait=True)
        if self._error is not None:
            log.error("%s", self._error)
        if error is None and self._error is not None:
            raise StorageError(self._error)

    def step(self, line: dict[str, Any]) -> None:
        """Records the metrics of a step, a line of ``metrics.jsonl``."""
        self._step = line["step"]
        self._append(self._metrics, [line])
        if time.monotonic() - self._flushed_s > self._PERIOD_S:
            self.flush()

    def skipped(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        """Records the recordings that were skipped in a step."""
        self._quarantine.add(step, recordings)

    def event(self, text: str, detail: str = "", fields: Mapping[str, float] = MappingProxyType({})) -> None:
        """Records an event, which is written immediately because the next step may take long.

        Args:
            text: One line.
            detail: Further lines, such as a table; they may be none.
            fields: Numbers for programs (:class:`mulan.runs.interruptions.Interruptions`).
        """
        line = {"time": time.time(), "step": self._step, "event": text} | dict(fields)
        self._append(self._events, [line | ({"detail": detail} if detail else {})])
        if not self._is_local:
            self.flush()

    def anomaly(self, anomaly: Anomaly) -> None:
        """Starts writing an anomaly: an event, and a file with the recordings of the step."""
        self._thread.submit(self._write_anomaly, anomaly)
        self._flushing = None  # a pending flush would precede the anomaly

    def _write_anomaly(self, anomaly: Anomaly) -> None:
        uri, text = self._run.anomaly_uri(anomaly.step), anomaly.message
        try:
            self._check_lease()
            filesystem.write_atomically(uri, anomaly.to_json().encode())
            text += f"; its recordings: {uri}; to inspect it: {self._run.replay_command(anomaly.step)}"
        except (OSError, MulanError) as error:  # must not hide the anomaly
            text += f"; its recordings could not be written to {uri}: {error}"
        self._append(self._events, [{"time": time.time(), "step": anomaly.step, "event": text}])

    def storage_error(self) -> StorageError | None:
        """Returns why the records could not be written; None if nothing has failed."""
        return None if self._error is None else StorageError(self._error)

    def flush(self) -> Future[None]:
        """Starts writing all records so far, and returns the future of the write."""
        self._flushed_s = time.monotonic()
        flushing = self._flushing
        if flushing is None or flushing.running() or flushing.done():  # a pending flush will write these records too
            flushing = self._flushing = self._thread.submit(self._flush)
        return flushing

    def _flush(self) -> None:
        if self._error is not None:
            raise StorageError(self._error)
        try:
            self._check_lease()
            self._metrics.flush()
            self._events.flush()
            self._quarantine.flush()
        except (StorageError, RunTakenOver) as error:
            self._error = str(error)
            raise

    def _append(self, records: JsonLinesLog, lines: Iterable[dict[str, Any]]) -> None:
        try:
            if self._is_local and time.monotonic() - self._checked_s > self._LOCAL_PERIOD_S:
                self._check_lease()
            records.append(lines)
        except (StorageError, RunTakenOver) as error:
            self._error = self._error or str(error)
        except OSError as error:
            self._error = self._error or (
                f"records of {self._run.uri} cannot be written: {error.strerror}; free space there, and resume with "
                "the same command"
            )

    def _check_lease(self) -> None:
        if self._fence is not None:
            self._fence.check()
        self._checked_s = time.monotonic()

"""The source of the training loop's batches, and the report about them that workers exchange after each step."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mulan.config.errors import MulanError
from mulan.data.batch import Batch
from mulan.data.errors import SkippedRecording
from mulan.data.schedule import Phase, Schedule
from mulan.distributed.collectives import all_gather_objects


@dataclass(frozen=True)
class StepReport:
    """The report of all workers about a step or a validation; equal on all of them."""

    measured: dict[str, float]
    """The first worker's measurements, on which all workers base their decisions."""
    data_wait_s: float
    """The maximum time over workers of waiting for batches, in seconds."""
    skipped: list[SkippedRecording]
    """The skipped recordings, in the order of the workers."""
    recordings_checksum: str
    """A 64-bit checksum, in hex, of the recordings by position in the global batch, for any number of workers."""
    fatal_error: MulanError | None
    """The error of the first worker that cannot continue; None if all can."""
    model_flops: int | None
    """The model FLOPs of the training micro-batches of all workers; None if they are not counted."""
    stops: bool
    """Whether any worker knows of a request to stop, so that all of them stop after the same step."""
    clock_s: float
    """The first worker's monotonic clock in seconds, so that all workers do periodic work in the same step."""


@dataclass
class BatchSource:
    """Takes batches from an iterator, measures the wait for them, and asserts that they follow the schedule."""

    batches: Iterator[Batch]
    schedule: Schedule
    flops: Callable[[Batch], int] | None = None
    """Returns the model FLOPs of a micro-batch; None if they are not counted."""
    _num_taken: int = 0
    _data_wait_s: float = 0.0
    _skipped: list[SkippedRecording] = field(default_factory=list)
    _checksum: int = 0
    _model_flops: int = 0
    _recordings: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def take(self, count: int) -> Iterator[Batch]:
        """Yields the next ``count`` batches, each taken only when it is needed.

        Meanwhile, the device processes the previous ones.
        """
        self._recordings = {}
        for _ in range(count):
            begun = time.perf_counter()
            batch = next(self.batches)
            expected = self.schedule[self._num_taken]
            assert batch.item == expected, f"got {batch.item}, but the schedule expects {expected}"
            self._num_taken += 1
            self._skipped += batch.skipped
            self._checksum ^= consumed_checksum(batch.item.micro_batch, batch.recording_id)
            self._recordings[batch.item.micro_batch] = batch.recording_id
            self._data_wait_s += time.perf_counter() - begun
            if self.flops is not None and batch.item.phase is Phase.TRAIN:
                self._model_flops += self.flops(batch)
            yield batch

    def recordings(self) -> list[tuple[str, ...]]:
        """Returns the recording ids of the last step or validation. Collective.

        Returns:
            One tuple for each micro-batch of the global batch, in order.
        """
        recordings = {
            number: names for worker in all_gather_objects(self._recordings) for number, names in worker.items()
        }
        return [recordings[number] for number in sorted(recordings)]

    def exchange_step_report(
        self, measured: dict[str, float] | None = None, fatal_error: MulanError | None = None, *, stops: bool = False
    ) -> StepReport:
        """Combines the reports of all workers since the last exchange. Collective.

        Args:
            measured: This worker's measurements of the step.
            fatal_error: Error because of which this worker cannot continue.
            stops: Whether this worker knows of a request to stop.
        """
        own = (
            measured or {},
            self._data_wait_s,
            self._skipped,
            self._checksum,
            self._model_flops,
            fatal_error,
            stops,
            time.monotonic(),
        )
        self._data_wait_s, self._skipped, self._checksum, self._model_flops = 0.0, [], 0, 0
        gathered = all_gather_objects(own)
        by_worker, waits, skipped, checksums, flops, errors, stopping, clocks = zip(*gathered, strict=True)
        checksum = 0
        for worker_checksum in checksums:
            checksum ^= worker_checksum
        return StepReport(
            measured=by_worker[0],
            data_wait_s=max(waits),
            skipped=[recording for worker_skipped in skipped for recording in worker_skipped],
            recordings_checksum=f"{checksum:016x}",
            fatal_error=next((error for error in errors if error is not None), None),
            model_flops=None if self.flops is None else sum(flops),
            stops=any(stopping),
            clock_s=clocks[0],
        )


def consumed_checksum(micro_batch: int, recording_ids: tuple[str, ...]) -> int:
    """Returns a 64-bit checksum of a micro-batch's recordings and positions; that of a step is the XOR over them."""
    content = "\n".join((str(micro_batch), *recording_ids)).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())

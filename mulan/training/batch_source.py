"""Where the loop takes its batches from, and what the workers report to each other about them."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from mulan.config.errors import MulanError
from mulan.data.batch import Batch
from mulan.data.errors import SkippedRecording
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects


@dataclass(frozen=True)
class StepReport:
    """What all workers report of a step, or of a validation, joined; equal on all of them."""

    measured: dict[str, float]
    """The first worker's measurements: what is decided by them is decided alike on all workers."""
    data_wait_s: float
    """The longest time that a worker waited for its batches."""
    skipped: list[SkippedRecording]
    """The recordings that could not be used, in the order of the workers."""
    recordings_checksum: str
    """64 bits, in hex, of which recordings stood in which places of the global batch, whichever worker read them."""
    fatal_error: MulanError | None
    """Why a worker cannot continue; the first such worker's."""
    clock_s: float
    """The first worker's clock: what is done every few seconds must be done by all workers in the same step."""


@dataclass
class BatchSource:
    """Takes batches off the iterator, measures the wait for them, and asserts the schedule's order."""

    batches: Iterator[Batch]
    schedule: Schedule
    _num_taken: int = 0
    _data_wait_s: float = 0.0
    _skipped: list[SkippedRecording] = field(default_factory=list)
    _checksum: int = 0
    _recordings: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def take(self, count: int) -> Iterator[Batch]:
        """Yields the next ``count`` batches, each one taken only when it is asked for.

        The device works on the earlier ones meanwhile.
        """
        self._recordings = {}
        for _ in range(count):
            begun = time.perf_counter()
            batch = next(self.batches)
            expected = self.schedule[self._num_taken]
            assert batch.item == expected, f"got {batch.item}, the schedule says {expected}"
            self._num_taken += 1
            self._skipped += batch.skipped
            self._checksum ^= consumed_checksum(batch.item.micro_batch, batch.recording_id)
            self._recordings[batch.item.micro_batch] = batch.recording_id
            self._data_wait_s += time.perf_counter() - begun
            yield batch

    def recordings(self) -> list[tuple[str, ...]]:
        """Returns the recording ids of the newest step or validation: one tuple for each micro-batch of the global
        batch, in order. Collective."""
        recordings = {
            number: names for of_worker in all_gather_objects(self._recordings) for number, names in of_worker.items()
        }
        return [recordings[number] for number in sorted(recordings)]

    def exchange_step_report(
        self, measured: dict[str, float] | None = None, fatal_error: MulanError | None = None
    ) -> StepReport:
        """Joins what the workers report since the last exchange. Collective.

        Args:
            measured: this worker's measurements of the step.
            fatal_error: why this worker cannot continue.
        """
        own = (measured or {}, self._data_wait_s, self._skipped, self._checksum, fatal_error, time.monotonic())
        self._data_wait_s, self._skipped, self._checksum = 0.0, [], 0
        by_worker, waits, skipped, checksums, errors, clocks = zip(*all_gather_objects(own), strict=True)
        checksum = 0
        for of_worker in checksums:
            checksum ^= of_worker
        return StepReport(
            measured=by_worker[0],
            data_wait_s=max(waits),
            skipped=[recording for of_worker in skipped for recording in of_worker],
            recordings_checksum=f"{checksum:016x}",
            fatal_error=next((error for error in errors if error is not None), None),
            clock_s=clocks[0],
        )


def consumed_checksum(micro_batch: int, recording_ids: tuple[str, ...]) -> int:
    """Returns 64 bits of a micro-batch's recordings and their places; those of a step are joined by exclusive or."""
    named = "\n".join((str(micro_batch), *recording_ids)).encode()
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest())

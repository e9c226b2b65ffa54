"""Where the loop takes its batches from, and what it learns of them on all workers."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from mulan.data.batch import Batch, SkippedRecording
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects


@dataclass(frozen=True)
class StepReport:
    """What the workers tell each other of the batches since the last time; the same on all of them."""

    waited_s: float
    """The longest wait of a worker for its batches."""
    skipped: list[SkippedRecording]
    recordings: str
    """A checksum of which recordings were consumed in which places of the global batch, whoever read them."""
    fault: str | None
    """Why one of the workers cannot go on."""
    clock_s: float
    """Of the first worker: what is done every so many seconds must be done by all in the same step."""
    measured: dict[str, float]
    """By the first worker: what is decided by it must be decided by all alike."""


@dataclass
class BatchSource:
    """Takes batches off the iterator, measures the wait, and insists on the schedule's order."""

    batches: Iterator[Batch]
    schedule: Schedule
    _taken: int = 0
    _waited_s: float = 0.0
    _skipped: list[SkippedRecording] = field(default_factory=list)
    _checksum: int = 0
    _newest: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def take(self, count: int) -> Iterator[Batch]:
        """The next batches, each when it is asked for: until then the device has work of the earlier ones."""
        self._newest = {}
        for _ in range(count):
            begun = time.perf_counter()
            batch = next(self.batches)
            expected = self.schedule[self._taken]
            assert batch.item == expected, f"got {batch.item}, the schedule says {expected}"
            self._taken += 1
            self._skipped += batch.replaced
            self._checksum ^= consumed_checksum(batch.item.micro_batch, batch.recording_id)
            self._newest[batch.item.micro_batch] = batch.recording_id
            self._waited_s += time.perf_counter() - begun
            yield batch

    def recordings(self) -> list[tuple[str, ...]]:
        """Those of each micro-batch of the newest step or validation, in the order of the global batch. Collective."""
        of_all = {
            number: names for of_worker in all_gather_objects(self._newest) for number, names in of_worker.items()
        }
        return [of_all[number] for number in sorted(of_all)]

    def told(self, fault: str | None = None, measured: dict[str, float] | None = None) -> StepReport:
        """Collective.

        Args:
            fault: why this worker cannot go on.
            measured: what it measured in the newest step.
        """
        own = (self._waited_s, self._skipped, self._checksum, fault, time.monotonic(), measured or {})
        waits, skipped, checksums, faults, clocks, by_workers = zip(*all_gather_objects(own), strict=True)
        self._waited_s, self._skipped, self._checksum = 0.0, [], 0
        checksum = 0
        for part in checksums:
            checksum ^= part
        return StepReport(
            waited_s=max(waits),
            skipped=[bad for of_worker in skipped for bad in of_worker],
            recordings=f"{checksum:016x}",
            fault=next((one for one in faults if one is not None), None),
            clock_s=clocks[0],
            measured=by_workers[0],
        )


def consumed_checksum(micro_batch: int, recording_ids: tuple[str, ...]) -> int:
    """64 bits of a micro-batch's recordings and their places; those of a step are joined by exclusive or."""
    named = "\n".join((str(micro_batch), *recording_ids)).encode()
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest())

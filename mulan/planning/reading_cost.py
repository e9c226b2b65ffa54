"""The time that one CPU needs to read, decode and tokenize a pair, measured on some of a run's own micro-batches."""

import time
from dataclasses import dataclass, replace

import numpy as np

from mulan.benchmarks.results import machine
from mulan.data.batch import Batch
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase

MEASURED_S = 5.0
"""Time in seconds after which no further micro-batch is read."""
MIN_MICRO_BATCHES = 3
"""Minimum number of micro-batches that are measured; one more is read before, and not measured."""


@dataclass(frozen=True)
class ReadingCost:
    """The cost of reading pairs with one reader on this machine."""

    pairs: int
    """Number of pairs that were measured."""
    wall_s: float
    """Time for a pair in seconds, including the time that the reader waited for storage."""
    cpu_s: float
    """CPU time for a pair in seconds."""
    machine: str
    """The processor on which it was measured."""
    batches: tuple[Batch, ...]
    """The micro-batches that were measured, without their waveforms."""

    @property
    def mean_tokens(self) -> float:
        """Mean number of tokens of their texts; 0 without texts."""
        return float(np.concatenate([batch.attention_mask.sum(axis=1) for batch in self.batches]).mean())


def measure_reading(reader: MicroBatchReader, *, steps: int, micro_batches: int) -> ReadingCost:
    """Reads micro-batches of a run at random until :data:`MEASURED_S` have passed, one after another as a reader does.

    Args:
        reader: Reader of the run's recipe.
        steps: Number of steps of the run.
        micro_batches: Number of micro-batches of a step.

    Raises:
        TooManySkippedRecordings, StorageError: The corpus cannot be read.
    """
    rng = np.random.default_rng(0)

    def read() -> Batch:
        item = Item(Phase.TRAIN, int(rng.integers(steps)), int(rng.integers(micro_batches)))
        batch = reader(item)
        return replace(batch, waveform=batch.waveform[:, :, :0].copy())

    read()  # loads decoders, and opens connections
    batches: list[Batch] = []
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    while len(batches) < MIN_MICRO_BATCHES or time.perf_counter() - begun_s < MEASURED_S:
        batches.append(read())
    wall_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    pairs = sum(len(batch.recording_id) for batch in batches)
    return ReadingCost(pairs, wall_s / pairs, cpu_s / pairs, machine()["processor"], tuple(batches))

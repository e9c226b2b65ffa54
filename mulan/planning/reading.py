"""The recordings that a run will read: how often, in how many requests, and how many bytes.

The plan says which recordings each micro-batch reads (:mod:`mulan.data.plan`), and the index at which byte ranges they
are. Runs of up to :data:`MAX_COUNTED` pairs are counted exactly. Of longer ones a sample of micro-batches is located,
so that time and memory depend neither on the number of steps nor on that of recordings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.config.sections import TrainConfig
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.storage.joined_ranges import join_ranges

MAX_COUNTED = 50_000
"""Maximum number of pairs that are all located."""
SAMPLE = 20_000
"""Minimum number of pairs that are located of a longer run."""
MIN_MICRO_BATCHES = 50
"""Minimum number of micro-batches that are located of a longer run."""
_NORMAL_95 = 1.96
"""Half width of the interval that contains 95 % of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Amount:
    """A number that is counted, or estimated from a sample."""

    value: float
    margin: float | None = None
    """Half width of its 95 % interval; None if it is counted."""

    def __add__(self, other: "Amount") -> "Amount":
        """Adds an amount whose error is independent."""
        margins = [each.margin for each in (self, other) if each.margin is not None]
        return Amount(self.value + other.value, math.hypot(*margins) if margins else None)


@dataclass(frozen=True)
class StreamReading:
    """The recordings of one stream that a run reads for training."""

    stream: str
    """Name of the stream: the source of its texts, and whether its labels are used; empty if no text is read."""
    recordings: int
    """Number of recordings of the stream."""
    pairs: int
    """Number of pairs that are trained on."""

    @property
    def epochs(self) -> float:
        """How often each recording is read on average."""
        return self.pairs / self.recordings


@dataclass(frozen=True)
class RunReading:
    """All recordings that a run reads from its first step to its last, without replacements of unreadable ones."""

    streams: tuple[StreamReading, ...]
    """The streams that are trained on."""
    validations: int
    """Number of validations."""
    validation_pairs: int
    """Number of pairs of all validations together."""
    requests: Amount
    """Requests to an object store for recordings, for training and validation."""
    read_bytes: Amount
    """Bytes that these requests read."""

    @property
    def pairs(self) -> int:
        """Number of pairs that are read, for training and validation."""
        return sum(stream.pairs for stream in self.streams) + self.validation_pairs


def run_reading(reader: MicroBatchReader, train: TrainConfig, *, steps: int | None = None) -> RunReading:
    """Returns what the first ``steps`` steps of a run read; by default, all of its steps.

    Args:
        reader: Reader of the run's recipe.
        train: Section of the recipe.
        steps: Number of steps.
    """
    steps = train.steps if steps is None else steps
    plan, count = reader.plans[Phase.TRAIN], validations(train, steps)
    streams = tuple(
        StreamReading(str(stream), len(plan.rows(stream)), steps * pairs)
        for stream, pairs in plan.pairs_by_stream.items()
        if pairs
    )
    requests, read_bytes = _of_training(reader, steps)
    validated = [Item(Phase.VALIDATE, 0, number) for number in range(train.validation_micro_batches if count else 0)]
    in_validation = count * _sizes(reader, validated).sum(axis=0)
    return RunReading(
        streams,
        count,
        count * len(validated) * plan.pairs_per_micro_batch,
        requests + Amount(float(in_validation[0])),
        read_bytes + Amount(float(in_validation[1])),
    )


def validations(train: TrainConfig, steps: int) -> int:
    """Returns the number of validations in the first steps of a run: the regular ones, and one after its last step."""
    if not train.validation_micro_batches:
        return 0
    every = train.validate_every_steps
    has_last = steps == train.steps and (not every or steps % every != 0)
    return (steps // every if every else 0) + has_last


def _of_training(reader: MicroBatchReader, steps: int) -> tuple[Amount, Amount]:
    """Returns the requests and the bytes of the micro-batches of the first steps."""
    plan = reader.plans[Phase.TRAIN]
    in_a_step = sum(plan.pairs_by_stream.values()) // plan.pairs_per_micro_batch
    total, size = steps * in_a_step, plan.pairs_per_micro_batch
    located = max(MIN_MICRO_BATCHES, math.ceil(SAMPLE / size))
    if total * size <= MAX_COUNTED or total <= located:
        numbers = list(range(total))
    else:
        numbers = np.random.default_rng(0).choice(total, located, replace=False).tolist()
    sizes = _sizes(reader, [Item(Phase.TRAIN, *divmod(number, in_a_step)) for number in numbers])
    if len(numbers) == total:
        requests, read_bytes = (Amount(float(column.sum())) for column in sizes.T)
    else:
        requests, read_bytes = (_estimate(column, total) for column in sizes.T)
    return requests, read_bytes


def _estimate(sample: np.ndarray, total: int) -> Amount:
    """Returns the sum over ``total`` micro-batches by a random sample of them, drawn without replacement."""
    deviation = float(sample.std(ddof=1)) * math.sqrt((1 - len(sample) / total) / len(sample))
    return Amount(float(sample.mean()) * total, _NORMAL_95 * deviation * total)


def _sizes(reader: MicroBatchReader, items: Sequence[Item]) -> np.ndarray:
    """Returns the number of requests and the bytes of each micro-batch, int64 [items, 2]."""
    sizes = np.zeros((len(items), 2), np.int64)
    for number, item in enumerate(items):
        for _, _, locations in reader.parts(item):
            requests = join_ranges([(where.uri, *span) for where in locations for span in where.ranges])
            sizes[number] += len(requests), sum(length for _, _, length in requests)
    return sizes

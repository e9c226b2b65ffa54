"""The recordings that a run will read: how often, in how many requests, and how many bytes.

The plan says which recordings a run reads (:mod:`mulan.data.plan`), and the index at which byte ranges they are.
Streams of up to :data:`MAX_COUNTED` recordings are counted exactly. Of larger ones a sample of recordings is located,
so that time and memory do not depend on their number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mulan.config.sections import TrainConfig
from mulan.data.corpus.index import Corpus
from mulan.data.plan import Plan
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase
from mulan.data.streams import Stream

MAX_COUNTED = 200_000
"""Maximum number of recordings of a stream that are all located."""
SAMPLE = 20_000
"""Number of recordings of a larger stream that are located."""
_AT_ONCE = 10_000
"""Number of recordings whose locations are held as objects."""
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
    requests: Amount
    """Requests for byte ranges, one for each range of a recording."""
    read_bytes: Amount
    """Bytes of these ranges."""

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
    """Requests for byte ranges of recordings, for training and validation."""
    read_bytes: Amount
    """Bytes of these ranges."""

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
    plan = reader.plans[Phase.TRAIN]
    streams = tuple(
        _stream_reading(reader.corpus, plan, stream, steps) for stream, pairs in plan.pairs_by_stream.items() if pairs
    )
    count = validations(train, steps)
    rows = list(_validation_rows(reader, train)) if count else []
    requests, read_bytes = (Amount(float(count * total)) for total in _sizes(reader.corpus, rows).sum(axis=0))
    for stream in streams:
        requests, read_bytes = requests + stream.requests, read_bytes + stream.read_bytes
    return RunReading(streams, count, count * len(rows), requests, read_bytes)


def validations(train: TrainConfig, steps: int) -> int:
    """Returns the number of validations in the first steps of a run: the regular ones, and one after its last step."""
    if not train.validation_micro_batches:
        return 0
    every = train.validate_every_steps
    has_last = steps == train.steps and (not every or steps % every != 0)
    return (steps // every if every else 0) + has_last


def _stream_reading(corpus: Corpus, plan: Plan, stream: Stream, steps: int) -> StreamReading:
    rows, pairs = plan.rows(stream), steps * plan.pairs_by_stream[stream]
    if len(rows) <= MAX_COUNTED:
        totals = plan.visits(stream, steps) @ _sizes(corpus, rows)
        requests, read_bytes = (Amount(float(total)) for total in totals)
    else:
        drawn = rows[np.random.default_rng(0).integers(len(rows), size=SAMPLE)]
        requests, read_bytes = (_estimate(column, pairs) for column in _sizes(corpus, drawn).T)
    return StreamReading(str(stream), len(rows), pairs, requests, read_bytes)


def _estimate(sample: np.ndarray, pairs: int) -> Amount:
    """Returns the sum over the recordings of ``pairs`` pairs, by the mean of a random sample of recordings."""
    # the mean of the sample is uncertain, and so is which recordings an epoch that is not finished reads
    deviation = float(sample.std(ddof=1)) * math.sqrt(pairs**2 / len(sample) + pairs)
    return Amount(float(sample.mean()) * pairs, _NORMAL_95 * deviation)


def _validation_rows(reader: MicroBatchReader, train: TrainConfig) -> Iterator[int]:
    """Yields the rows of a validation, which reads the pairs of its plan's step 0."""
    plan = reader.plans[Phase.VALIDATE]
    for micro_batch in range(train.validation_micro_batches):
        yield from (example.row for example in plan.micro_batch(0, micro_batch))


def _sizes(corpus: Corpus, rows: np.ndarray | list[int]) -> np.ndarray:
    """Returns the number of ranges and the bytes of each of the rows, int64 [rows, 2]."""
    sizes = [
        (len(location.ranges), sum(length for _, length in location.ranges))
        for first in range(0, len(rows), _AT_ONCE)
        for location in corpus.locations([int(row) for row in rows[first : first + _AT_ONCE]])
    ]
    return np.array(sizes, np.int64).reshape(-1, 2)

"""The plan: which recording, which window of it and which text is pair p of micro-batch k of step s.

A pure function of (recordings, shares, batch, seed): nothing is remembered between steps, so a run that starts at step
s sees exactly what the run that got there sees, on any number of workers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mulan.config.errors import MulanError
from mulan.config.sections import BatchConfig
from mulan.data.randomness import Permutation, permute, uniforms
from mulan.data.streams import Stream, StreamMixture


class PlanError(MulanError, ValueError):
    """The corpus has not what the recipe asks for."""


@dataclass(frozen=True)
class Example:
    """One pair, before anything is read."""

    row: int
    """Row of the index."""
    stream: Stream
    """Whether there is a text to be read, and whether the labels count."""
    window_draw: float
    """In [0, 1): which window of the recording."""
    text_draw: float
    """In [0, 1): which of the recording's texts of the stream's source."""


class Plan:
    """Endless, perfectly shuffled streams of one split's recordings, mixed in every batch.

    Each stream walks through all of its recordings in a new keyed order every epoch of its own; a global batch takes
    the same number of pairs of each stream every time (MuLan §3.4), dealt over the micro-batches at random.
    """

    def __init__(self, mix: StreamMixture, *, batch: BatchConfig, seed: int, split: str) -> None:
        """
        Args:
            split: keeps the draws of different splits apart; also for messages.

        Raises:
            PlanError: a stream with a share has no recording, or no pair in so small a batch.
        """
        self._mix, self._batch, self._seed, self._split = mix, batch, seed, split
        self.pairs_per_micro_batch = batch.pairs_per_micro_batch
        self.pairs_by_stream = _apportion(batch.pairs, mix.shares)
        faults = list(_faults(mix, self.pairs_by_stream, batch, split))
        if faults:
            raise PlanError("; ".join(faults))
        self._streams = list(mix.rows)
        self._sizes = np.array([len(mix.rows[stream]) for stream in self._streams])
        self._pairs = np.array([self.pairs_by_stream[stream] for stream in self._streams])
        self._slot_stream = np.repeat(np.arange(len(self._streams)), self._pairs)
        self._slot_ordinal = np.concatenate([np.arange(pairs) for pairs in self._pairs])

    def micro_batch(self, step: int, micro_batch: int) -> list[Example]:
        """The ``pairs_per_micro_batch`` examples of micro-batch ``micro_batch`` of step ``step`` (both from 0)."""
        size = self.pairs_per_micro_batch
        deal = Permutation(self._batch.pairs, seed=self._seed, purpose=f"{self._split} deal", key=(step,))
        slots = deal(np.arange(micro_batch * size, (micro_batch + 1) * size))
        streams = self._slot_stream[slots]
        places = self._places(streams, step * self._pairs[streams] + self._slot_ordinal[slots])
        return [
            Example(int(self._mix.rows[self._streams[number]][place]), self._streams[number], window, text)
            for number, place, (window, text, _) in zip(
                streams, places, self._draws(step, micro_batch, 0).tolist(), strict=True
            )
        ]

    def replacement(self, step: int, micro_batch: int, position: int, stream: Stream, attempt: int) -> Example:
        """What stands in for a pair that cannot be read: a random recording of the same stream.

        Args:
            position: of the pair in its micro-batch.
            attempt: 1 for the first replacement, 2 for the replacement of that one, and so on.
        """
        window, text, choice = self._draws(step, micro_batch, attempt)[position]
        rows = self._mix.rows[stream]
        return Example(int(rows[int(choice * len(rows))]), stream, float(window), float(text))

    def uniforms(self, count: int, *, purpose: str, step: int, micro_batch: int) -> np.ndarray:
        """float64 [count] in [0, 1): further draws for a micro-batch."""
        return uniforms(count, seed=self._seed, purpose=f"{self._split} {purpose}", key=(step, micro_batch))

    def _draws(self, step: int, micro_batch: int, attempt: int) -> np.ndarray:
        """float64 [pairs, 3] in [0, 1)."""
        pairs = self.pairs_per_micro_batch
        key = (step, micro_batch, attempt)
        return uniforms(pairs * 3, seed=self._seed, purpose=f"{self._split} pair", key=key).reshape(pairs, 3)

    def _places(self, streams: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Which of its recordings stands at each position of an endless stream, int64 [n].

        Args:
            streams: int64 [n], by number.
            positions: int64 [n].
        """
        epochs, within = np.divmod(positions, self._sizes[streams])
        kinds, which = np.unique(epochs * len(self._streams) + streams, return_inverse=True)
        orders = []
        for epoch, number in zip(*np.divmod(kinds, len(self._streams)), strict=True):
            size, purpose = int(self._sizes[number]), f"{self._split} {self._streams[number]}"
            orders.append(Permutation(size, seed=self._seed, purpose=purpose, key=(int(epoch),)))
        return permute(orders, which, within)


def _faults(mix: StreamMixture, pairs: Mapping[Stream, int], batch: BatchConfig, split: str) -> Iterator[str]:
    """What a stream with a share lacks, each with its remedy; once for a source of which there is nothing at all."""
    told: set[str] = set()
    for stream, share in mix.shares.items():
        if share > 0 and (not len(mix.rows[stream]) or not pairs[stream]):
            fault = _fault(mix, pairs, stream, batch, split)
            if fault not in told:
                yield fault
            told.add(fault)


def _fault(mix: StreamMixture, pairs: Mapping[Stream, int], stream: Stream, batch: BatchConfig, split: str) -> str:
    source, labelled = stream
    other = None if labelled is None else Stream(source, not labelled)
    if len(mix.rows[stream]):
        whole = other is None or not pairs[other]
        what = (source or "recordings") if whole else f"{stream} recordings"
        remedy = f"data.source_ratio.{source}=0" if whole else _other_share(labelled)
        return (
            f"a batch of {batch.pairs} pairs has no place for {what} at this ratio; set {remedy} or enlarge the batch"
        )
    if other is None or not len(mix.rows[other]):
        if source is None:
            return f"there is no {split} recording; set data.uri to a corpus that has some"
        return f"no {split} recording has {source} texts; set data.source_ratio.{source}=0"
    of_source = f" with {source} texts" if source else ""
    lacks = "bears a label that is used" if labelled else "is without labels"
    return f"no {split} recording{of_source} {lacks}; set {_other_share(labelled)}"


def _other_share(labelled: bool | None) -> str:
    return f"semisupcon.labelled_share={0 if labelled else 1}"


def _apportion(pairs: int, ratio: Mapping[Stream, float]) -> dict[Stream, int]:
    """Whole numbers of pairs nearest to the ratio that add up to the batch (largest remainders)."""
    shares = np.array(list(ratio.values()), np.float64)
    exact = shares / shares.sum() * pairs
    counts = np.floor(exact).astype(int)
    for number in np.argsort(counts - exact, kind="stable")[: pairs - counts.sum()]:
        counts[number] += 1
    return {stream: int(count) for stream, count in zip(ratio, counts, strict=True)}

"""The plan: which recording, which window of it and which text is pair p of micro-batch k of step s.

A pure function of (recordings, ratio, batch, seed): nothing is remembered between steps, so a run that starts at step s
sees exactly what the run that got there sees, on any number of workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mulan.config.errors import MulanError
from mulan.config.sections import SOURCES, Batch, Source, SourceRatio
from mulan.data.draws import Permutation, uniforms


class PlanError(MulanError, ValueError):
    """The corpus has not what the recipe asks for."""


@dataclass(frozen=True)
class Example:
    """One pair, before anything is read."""

    row: int
    """Row of the index."""
    source: Source
    window_draw: float
    """In [0, 1): which window of the recording."""
    text_draw: float
    """In [0, 1): which of the recording's texts of this source."""


class Plan:
    """Endless, perfectly shuffled streams of one split's recordings, one stream a text source, mixed in every batch.

    Each source walks through all of its recordings in a new keyed order every epoch of its own; a global batch takes
    the same number of pairs of each source every time (MuLan §3.4), dealt over the micro-batches at random.
    """

    def __init__(
        self, rows_by_source: Mapping[Source, np.ndarray], *, ratio: SourceRatio, batch: Batch, seed: int, split: str
    ) -> None:
        """
        Args:
            rows_by_source: index rows that have texts of each source, int64.
            split: keeps the draws of different splits apart; also for messages.

        Raises:
            PlanError: a source with a share in the ratio has no recording, or no pair in so small a batch.
        """
        self._rows, self._batch, self._seed, self._split = rows_by_source, batch, seed, split
        self.pairs_by_source = _apportion(batch.pairs, ratio)
        faults = [
            f"no {split} recording has {source} texts; set data.source_ratio.{source}=0"
            for source in SOURCES
            if getattr(ratio, source) > 0 and len(rows_by_source[source]) == 0
        ]
        faults += [
            f"a batch of {batch.pairs} pairs has no place for {source} at this ratio; "
            f"set data.source_ratio.{source}=0 or enlarge the batch"
            for source in SOURCES
            if getattr(ratio, source) > 0 and self.pairs_by_source[source] == 0
        ]
        if faults:
            raise PlanError("; ".join(faults))
        self._slot_source = np.repeat(np.arange(len(SOURCES)), [self.pairs_by_source[s] for s in SOURCES])
        self._slot_ordinal = np.concatenate([np.arange(self.pairs_by_source[s]) for s in SOURCES])

    def micro_batch(self, step: int, micro_batch: int) -> list[Example]:
        """The ``pairs_per_micro_batch`` examples of micro-batch ``micro_batch`` of step ``step`` (both from 0)."""
        size = self._batch.pairs_per_micro_batch
        deal = Permutation(self._batch.pairs, seed=self._seed, purpose=f"{self._split} deal", key=(step,))
        slots = deal(np.arange(micro_batch * size, (micro_batch + 1) * size))
        draws = self._draws(step, micro_batch, 0)
        examples: list[Example | None] = [None] * size
        for number, source in enumerate(SOURCES):
            places = np.flatnonzero(self._slot_source[slots] == number)
            rows = self._stream(source, step * self.pairs_by_source[source] + self._slot_ordinal[slots[places]])
            for place, row in zip(places, rows, strict=True):
                examples[place] = Example(int(row), source, float(draws[place, 0]), float(draws[place, 1]))
        assert None not in examples
        return examples  # type: ignore[return-value]

    def replacement(self, step: int, micro_batch: int, position: int, source: Source, attempt: int) -> Example:
        """What stands in for a pair that cannot be read: a random recording of the same source.

        Args:
            position: of the pair in its micro-batch.
            attempt: 1 for the first replacement, 2 for the replacement of that one, and so on.
        """
        window, text, choice = self._draws(step, micro_batch, attempt)[position]
        rows = self._rows[source]
        return Example(int(rows[int(choice * len(rows))]), source, float(window), float(text))

    def _draws(self, step: int, micro_batch: int, attempt: int) -> np.ndarray:
        """float64 [pairs, 3] in [0, 1)."""
        pairs = self._batch.pairs_per_micro_batch
        key = (step, micro_batch, attempt)
        return uniforms(pairs * 3, seed=self._seed, purpose=f"{self._split} pair", key=key).reshape(pairs, 3)

    def _stream(self, source: Source, positions: np.ndarray) -> np.ndarray:
        """Rows at some positions of a source's endless stream."""
        rows = self._rows[source]
        if not len(positions):
            return positions
        epochs, places = np.divmod(positions, len(rows))
        found = np.empty_like(positions)
        for epoch in np.unique(epochs):
            order = Permutation(len(rows), seed=self._seed, purpose=f"{self._split} {source}", key=(int(epoch),))
            found[epochs == epoch] = rows[order(places[epochs == epoch])]
        return found


def _apportion(pairs: int, ratio: SourceRatio) -> dict[Source, int]:
    """Whole numbers of pairs nearest to the ratio that add up to the batch (largest remainders)."""
    shares = np.array([getattr(ratio, source) for source in SOURCES], np.float64)
    exact = shares / shares.sum() * pairs
    counts = np.floor(exact).astype(int)
    for number in np.argsort(counts - exact, kind="stable")[: pairs - counts.sum()]:
        counts[number] += 1
    return {source: int(count) for source, count in zip(SOURCES, counts, strict=True)}

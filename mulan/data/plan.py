"""The plan: which recording, which window of it and which text is pair p of micro-batch k of step s.

A pure function of (recordings, ratio, batch, seed): nothing is remembered between steps, so a run that starts at step s
sees exactly what the run that got there sees, on any number of workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mulan.config.errors import MulanError
from mulan.config.sections import SOURCES, Batch, Source, SourceRatio
from mulan.data.draws import Permutation, permute, uniforms


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
        self.pairs_per_micro_batch = batch.pairs_per_micro_batch
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
        self._sizes = np.array([len(rows_by_source[source]) for source in SOURCES])
        self._pairs = np.array([self.pairs_by_source[source] for source in SOURCES])
        self._slot_source = np.repeat(np.arange(len(SOURCES)), self._pairs)
        self._slot_ordinal = np.concatenate([np.arange(pairs) for pairs in self._pairs])

    def micro_batch(self, step: int, micro_batch: int) -> list[Example]:
        """The ``pairs_per_micro_batch`` examples of micro-batch ``micro_batch`` of step ``step`` (both from 0)."""
        size = self.pairs_per_micro_batch
        deal = Permutation(self._batch.pairs, seed=self._seed, purpose=f"{self._split} deal", key=(step,))
        slots = deal(np.arange(micro_batch * size, (micro_batch + 1) * size))
        sources = self._slot_source[slots]
        places = self._places(sources, step * self._pairs[sources] + self._slot_ordinal[slots])
        return [
            Example(int(self._rows[SOURCES[source]][place]), SOURCES[source], window, text)
            for source, place, (window, text, _) in zip(
                sources, places, self._draws(step, micro_batch, 0).tolist(), strict=True
            )
        ]

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
        pairs = self.pairs_per_micro_batch
        key = (step, micro_batch, attempt)
        return uniforms(pairs * 3, seed=self._seed, purpose=f"{self._split} pair", key=key).reshape(pairs, 3)

    def _places(self, sources: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Which of its source's recordings stands at each position of its source's endless stream, int64 [n].

        Args:
            sources: int64 [n], by number.
            positions: int64 [n].
        """
        epochs, within = np.divmod(positions, self._sizes[sources])
        streams, which = np.unique(epochs * len(SOURCES) + sources, return_inverse=True)
        orders = []
        for epoch, number in zip(*np.divmod(streams, len(SOURCES)), strict=True):
            size, purpose = int(self._sizes[number]), f"{self._split} {SOURCES[number]}"
            orders.append(Permutation(size, seed=self._seed, purpose=purpose, key=(int(epoch),)))
        return permute(orders, which, within)


def _apportion(pairs: int, ratio: SourceRatio) -> dict[Source, int]:
    """Whole numbers of pairs nearest to the ratio that add up to the batch (largest remainders)."""
    shares = np.array([getattr(ratio, source) for source in SOURCES], np.float64)
    exact = shares / shares.sum() * pairs
    counts = np.floor(exact).astype(int)
    for number in np.argsort(counts - exact, kind="stable")[: pairs - counts.sum()]:
        counts[number] += 1
    return {source: int(count) for source, count in zip(SOURCES, counts, strict=True)}

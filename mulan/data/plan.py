"""The plan: the recording, window and text of pair p of micro-batch k of step s.

The plan is a pure function of (recordings, shares, batch, seed). There is no state between steps, so a run that is
resumed at step s receives exactly the data of a run that was not interrupted, on any number of workers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mulan.config.errors import MulanError
from mulan.config.sections import BatchConfig, Source
from mulan.data.randomness import Permutation, permute, uniforms
from mulan.data.streams import Stream, StreamMixture


class PlanError(MulanError, ValueError):
    """Raised when the corpus lacks what the recipe requires."""


@dataclass(frozen=True)
class Example:
    """One planned pair, before it is read."""

    row: int
    """Row of the recording in the index."""
    stream: Stream
    """Stream, which determines the source of the text and whether labels are used."""
    window_draw: float
    """Position of the window in the recording, in [0, 1)."""
    text_draw: float
    """Draw in [0, 1) by which the text is sampled from the recording's texts of the stream's source."""


class Plan:
    """Infinite, fully shuffled streams of one split's recordings, mixed in every batch.

    Each stream visits all of its recordings in a new order in each of its epochs. Every global batch has the same
    number of pairs of each stream (MuLan §3.4), distributed over the micro-batches at random.
    """

    def __init__(self, mix: StreamMixture, *, batch: BatchConfig, seed: int, split: str) -> None:
        """
        Args:
            mix: Streams and their shares.
            batch: Size of the global batch and of its micro-batches.
            seed: Seed of all draws.
            split: Name of the split, for messages and for draws that are independent of those of other splits.

        Raises:
            PlanError: A stream with a positive share has no recordings, or the batch is too small for a pair of it.
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
        """Returns the ``pairs_per_micro_batch`` examples of a micro-batch of a step, both counted from 0."""
        size = self.pairs_per_micro_batch
        deal = Permutation(self._batch.pairs, seed=self._seed, purpose=f"{self._split} deal", key=(step,))
        slots = deal(np.arange(micro_batch * size, (micro_batch + 1) * size))
        streams = self._slot_stream[slots]
        indices = self._recordings(streams, step * self._pairs[streams] + self._slot_ordinal[slots])
        return [
            Example(int(self._mix.rows[self._streams[number]][index]), self._streams[number], window, text)
            for number, index, (window, text, _) in zip(
                streams, indices, self._draws(step, micro_batch, 0).tolist(), strict=True
            )
        ]

    def replacement(self, step: int, micro_batch: int, position: int, stream: Stream, attempt: int) -> Example:
        """Returns the replacement of a pair that cannot be read: a random recording of the same stream.

        Args:
            step: Step of the pair.
            micro_batch: Micro-batch of the pair.
            position: Position of the pair in its micro-batch.
            stream: Stream of the pair.
            attempt: 1 for the first replacement, 2 for the replacement of that one, and so on.
        """
        window, text, choice = self._draws(step, micro_batch, attempt)[position]
        rows = self._mix.rows[stream]
        return Example(int(rows[int(choice * len(rows))]), stream, float(window), float(text))

    def rows(self, stream: Stream) -> np.ndarray:
        """Returns the index rows of a stream's recordings, int64 [n]."""
        return self._mix.rows[stream]

    def uniforms(self, count: int, *, purpose: str, step: int, micro_batch: int) -> np.ndarray:
        """Returns further draws for a micro-batch, float64 [count] in [0, 1)."""
        return uniforms(count, seed=self._seed, purpose=f"{self._split} {purpose}", key=(step, micro_batch))

    def _draws(self, step: int, micro_batch: int, attempt: int) -> np.ndarray:
        """Returns float64 [pairs, 3] in [0, 1): the draws of window, text and replacement."""
        pairs = self.pairs_per_micro_batch
        key = (step, micro_batch, attempt)
        return uniforms(pairs * 3, seed=self._seed, purpose=f"{self._split} pair", key=key).reshape(pairs, 3)

    def _recordings(self, streams: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Returns the recording at each position as its index within the stream, int64 [n].

        Args:
            streams: Numbers of the streams, int64 [n].
            positions: Positions in the infinite streams, int64 [n].
        """
        epochs, within = np.divmod(positions, self._sizes[streams])
        kinds, kind_of = np.unique(epochs * len(self._streams) + streams, return_inverse=True)
        orders = []
        for epoch, number in zip(*np.divmod(kinds, len(self._streams)), strict=True):
            size, purpose = int(self._sizes[number]), f"{self._split} {self._streams[number]}"
            orders.append(Permutation(size, seed=self._seed, purpose=purpose, key=(int(epoch),)))
        return permute(orders, kind_of, within)


def _faults(mix: StreamMixture, pairs: Mapping[Stream, int], batch: BatchConfig, split: str) -> Iterator[str]:
    """Yields a message with a remedy for each fault of the streams with a positive share, without duplicates."""
    seen: set[str] = set()
    for stream, share in mix.shares.items():
        if share > 0 and (not len(mix.rows[stream]) or not pairs[stream]):
            fault = _fault(mix, pairs, stream, batch, split)
            if fault not in seen:
                yield fault
            seen.add(fault)


def _fault(mix: StreamMixture, pairs: Mapping[Stream, int], stream: Stream, batch: BatchConfig, split: str) -> str:
    source, labelled = stream
    other = None if labelled is None else Stream(source, not labelled)
    if len(mix.rows[stream]):
        is_whole_source = other is None or not pairs[other]
        what = (source or "recordings") if is_whole_source else f"{stream} recordings"
        remedy = f"data.source_ratio.{source}=0" if is_whole_source else _share_remedy(labelled)
        return (
            f"a batch of {batch.pairs} pairs is too small for {what} at this ratio; set {remedy} or enlarge the batch"
        )
    if other is None or not len(mix.rows[other]):
        if source is None:
            return f"there is no {split} recording; set data.uri to a corpus that has some"
        is_only_source = not any(share for stream, share in mix.shares.items() if stream.source != source)
        instead = " and that of another source above 0" if is_only_source else ""
        return f"no {split} recording has {_texts(source)}; set data.source_ratio.{source}=0{instead}"
    with_source = f" with {_texts(source)}" if source else ""
    lacks = "has a label that is used" if labelled else "is unlabelled"
    return f"no {split} recording{with_source} {lacks}; set {_share_remedy(labelled)}"


def _texts(source: Source) -> str:
    return source if source == "tags" else f"{source} texts"


def _share_remedy(labelled: bool | None) -> str:
    return f"semisupcon.labelled_share={0 if labelled else 1}"


def _apportion(pairs: int, ratio: Mapping[Stream, float]) -> dict[Stream, int]:
    """Distributes the pairs of a batch in a ratio, in whole numbers, by the largest-remainder method."""
    shares = np.array(list(ratio.values()), np.float64)
    exact = shares / shares.sum() * pairs
    counts = np.floor(exact).astype(int)
    for number in np.argsort(counts - exact, kind="stable")[: pairs - counts.sum()]:
        counts[number] += 1
    return {stream: int(count) for stream, count in zip(ratio, counts, strict=True)}

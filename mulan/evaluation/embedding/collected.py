"""The vectors of a corpus, collected from batches that arrive in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mulan.data.errors import MAX_FAULTS, BadRecording, TooManySkippedRecordings
from mulan.evaluation.embedding.indexed import IndexedRecording
from mulan.evaluation.embedding.windows import WindowBatch
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.recordings import EmbeddedRecordings


def check_skipped(skipped: Mapping[str, str], read: int, what: str, *, max_skipped_share: float) -> None:
    """Checks that enough recordings were read.

    Args:
        skipped: Why recordings were skipped, by their ids.
        read: Number of the others.
        what: The splits and the corpus, for the message.
        max_skipped_share: Maximum share of skipped recordings, in [0, 1].

    Raises:
        TooManySkippedRecordings: All recordings were skipped, or more than allowed; names them.
    """
    count = read + len(skipped)
    if read and len(skipped) <= max_skipped_share * count:
        return
    listed = "\n".join(f"  - {name}: {reason}" for name, reason in list(skipped.items())[:MAX_FAULTS])
    more = len(skipped) - MAX_FAULTS
    remedy = "repair or remove them" + (
        f", or allow a share of more than {max_skipped_share:g}: --max-skipped-share of jobs.evaluate, or the setting "
        "data.max_skipped_share"
        if read
        else ""
    )
    if all(reason.startswith("missing shard") for reason in skipped.values()):
        remedy = "restore the tars, or make the index again where they are now"
    raise TooManySkippedRecordings(
        f"{len(skipped)} of the {count} recordings in {what} cannot be read; {remedy}\n{listed}"
        + (f"\n  and {more} more" if more > 0 else "")
    )


@dataclass(frozen=True, eq=False)
class CorpusEmbeddings:
    """The embedded recordings of splits of a corpus."""

    embedded: EmbeddedRecordings
    """The recordings, in ascending order of their ids; none if all were skipped."""
    skipped: Mapping[str, str]
    """Reason by id of each skipped recording."""
    is_lasting: bool = True
    """Whether the same recordings would be skipped again: False if the bytes of a recording could not be read."""

    def check(self, what: str, *, max_skipped_share: float) -> None:
        """Checks that enough recordings were embedded.

        Args:
            what: The splits and the corpus, for the message.
            max_skipped_share: Maximum share of skipped recordings, in [0, 1].

        Raises:
            TooManySkippedRecordings: All recordings were skipped, or more than allowed; names them.
        """
        check_skipped(self.skipped, len(self.embedded.recordings), what, max_skipped_share=max_skipped_share)

    def of_split(self, split: str, skipped: Mapping[str, str]) -> "CorpusEmbeddings":
        """Returns the recordings of a split.

        Args:
            split: Name of the split.
            skipped: Those of the skipped recordings that belong to it.
        """
        return CorpusEmbeddings(self.embedded.of_splits(split), skipped, self.is_lasting)


def joined(parts: Sequence[CorpusEmbeddings]) -> CorpusEmbeddings:
    """Joins the recordings of different splits, at least one, of a corpus."""
    embedded = [part.embedded for part in parts]
    recordings = [recording for each in embedded for recording in each.recordings]
    sizes = np.concatenate([np.diff(each.starts) for each in embedded])
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vectors, rows = embedded[0].vectors, None
    if all(each.vectors is vectors and each.rows is not None for each in embedded):  # parts of one corpus
        rows = np.concatenate([each.rows for each in embedded if each.rows is not None])
    else:
        vectors = np.concatenate([each.windows for each in embedded]) if len(embedded) > 1 else embedded[0].windows
    together = EmbeddedRecordings(tuple(recordings), vectors, starts, embedded[0].is_unit, rows)
    if len(parts) > 1:
        together = together.select(sorted(range(len(recordings)), key=lambda row: recordings[row].recording_id))
    skipped = {name: reason for part in parts for name, reason in part.skipped.items()}
    return CorpusEmbeddings(together, dict(sorted(skipped.items())), all(part.is_lasting for part in parts))


@dataclass(frozen=True, eq=False)
class CollectedVectors:
    """The vectors of the recordings of a part, whatever they are recordings of."""

    finished: Mapping[int, Any]
    """The labels of the recordings that were read, by their positions in ascending order."""
    windows: np.ndarray
    """Vectors of the windows, one recording after another, float32 [windows, d]."""
    starts: np.ndarray
    """Number among the windows of the first one of each recording, and their total number, int64 [recordings + 1]."""
    skipped: Mapping[int, BadRecording]
    """The errors of the other recordings, by their positions in ascending order."""

    @property
    def is_lasting(self) -> bool:
        """Whether the same recordings would be skipped again: False if the bytes of one could not be read."""
        return not any(error.reason in UNREAD for error in self.skipped.values())


class VectorCollector:
    """Collects the vectors of the recordings of a part from batches that arrive in any order."""

    def __init__(self, count: int, info: EncoderInfo) -> None:
        """
        Args:
            count: Number of the recordings, whose positions are 0 to ``count - 1``.
            info: The encoder.
        """
        self._count, self._info = count, info
        self._batches: list[WindowBatch] = []
        self._finished: dict[int, Any] = {}
        self._skipped: dict[int, BadRecording] = {}
        self._missing = np.zeros(count, np.int64)
        """Number of windows that are still to arrive, of finished recordings; below 0 for others."""

    @property
    def done(self) -> int:
        """Number of the recordings that were read to their end, or skipped."""
        return len(self._finished) + len(self._skipped)

    @property
    def is_complete(self) -> bool:
        """Whether all vectors of all recordings have arrived; of skipped ones, further batches may."""
        return self.done == self._count and not self._missing[list(self._finished)].any()

    def add(self, batch: WindowBatch) -> None:
        """Adds a batch of vectors.

        Raises:
            EvaluationError: A vector is not finite.
        """
        if not np.isfinite(batch.windows).all():
            raise EvaluationError(
                f"the audio embeddings of {self._info.name} are not finite; did its training diverge?"
            )
        np.subtract.at(self._missing, batch.positions, 1)
        for position, labels, windows in batch.finished:
            self._finished[position] = labels
            self._missing[position] += windows
        self._skipped.update(batch.skipped)
        self._batches.append(batch)

    def collected(self) -> CollectedVectors:
        """Returns the vectors of all recordings. The collector is empty afterwards."""
        kept = np.zeros(self._count, bool)
        kept[list(self._finished)] = True
        positions = np.concatenate([np.zeros(0, np.int64), *(batch.positions for batch in self._batches)])
        numbers = np.concatenate([np.zeros(0, np.int64), *(batch.numbers for batch in self._batches)])
        order = np.lexsort((numbers, positions))
        order = order[kept[positions[order]]]
        rows = np.full(len(positions), -1)
        rows[order] = np.arange(len(order))  # -1: of a skipped recording
        counts = np.bincount(positions[order], minlength=len(kept))[kept]
        windows = np.empty((len(order), self._info.dim), np.float32)
        for part in np.split(rows, np.cumsum([len(batch.positions) for batch in self._batches])[:-1]):
            batch = self._batches.pop(0)  # so that the vectors are not in memory twice
            windows[part[part >= 0]] = batch.windows[part >= 0]
        return CollectedVectors(
            {position: self._finished[position] for position in np.flatnonzero(kept).tolist()},
            windows,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            dict(sorted(self._skipped.items())),
        )


class EmbeddingCollector(VectorCollector):
    """Collects the vectors of recordings of a corpus."""

    def __init__(self, recordings: Sequence[IndexedRecording], info: EncoderInfo) -> None:
        """
        Args:
            recordings: All recordings that are embedded.
            info: The encoder.
        """
        super().__init__(len(recordings), info)
        self._recordings = recordings

    def finish(self) -> CorpusEmbeddings:
        """Returns the vectors of all recordings. The collector is empty afterwards."""
        return of_corpus(self.collected(), self._recordings, self._info)


def of_corpus(found: CollectedVectors, recordings: Sequence[IndexedRecording], info: EncoderInfo) -> CorpusEmbeddings:
    """Returns the vectors of recordings of a corpus.

    Args:
        found: The vectors, with a :class:`LabelledRecording` as the labels of each recording.
        recordings: All recordings that were embedded, by their positions.
        info: The encoder.
    """
    return CorpusEmbeddings(
        EmbeddedRecordings(tuple(found.finished.values()), found.windows, found.starts, info.is_unit),
        {recordings[position].recording_id: str(error) for position, error in found.skipped.items()},
        found.is_lasting,
    )


UNREAD = frozenset({"missing shard", "unreadable shard", "missing file", "unreadable file"})
"""Reasons for bytes that could not be read, of :meth:`mulan.data.corpus.records.Fragment.record` and
:func:`mulan.preparation.locations.read_audio`: nothing but another attempt tells whether they can be read again."""

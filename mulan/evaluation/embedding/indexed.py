"""The recordings of a corpus that are embedded, as its index states them, in blocks of about as many windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from mulan.data.corpus.index import Corpus, Location
from mulan.evaluation.errors import EvaluationError


@dataclass(frozen=True)
class IndexedRecording:
    """A recording whose bytes are not read yet."""

    position: int
    """Number among all recordings in ascending order of their ids."""
    recording_id: str
    """Id, unique in the corpus."""
    split: str
    """``train``, ``validation`` or ``test``."""
    tags: tuple[str, ...]
    """Tags, ``category:text``."""
    duration_s: float
    """Duration in seconds."""
    location: Location
    """Where its tar members are."""


def indexed_recordings(corpus: Corpus, splits: Sequence[str]) -> list[IndexedRecording]:
    """Returns the recordings of splits in ascending order of their ids, which does not depend on the order of files.

    Raises:
        EvaluationError: There are none.
    """
    rows = np.concatenate([np.zeros(0, np.uint32), *(corpus.rows(split) for split in dict.fromkeys(splits))])
    if not len(rows):
        named = "the split" if len(splits) == 1 else "the splits"
        raise EvaluationError(
            f"corpus {corpus.uri} has no recordings in {named} {', '.join(map(repr, splits)) or '(none is named)'}"
        )
    part = corpus.table.select(["recording_id", "split", "tags", "duration_s"]).take(pa.array(rows)).to_pydict()
    items = sorted(
        zip(*part.values(), corpus.locations(rows), strict=True), key=lambda item: str(item[0])
    )  # ids are unique
    return [
        IndexedRecording(position, name, split, tuple(tags), duration_s, location)
        for position, (name, split, tags, duration_s, location) in enumerate(items)
    ]


class _Timed(Protocol):
    @property
    def duration_s(self) -> float: ...


R = TypeVar("R", bound=_Timed)


def in_blocks(recordings: Sequence[R], *, windows: int, window_s: float) -> list[list[R]]:
    """Divides recordings, in their order, into blocks of at most this number of windows, or of one recording.

    The division depends on the recordings alone, so that the same windows are embedded together by any number of
    processes.
    """
    blocks: list[list[R]] = []
    total = 0
    for recording in recordings:
        count = max(1, math.ceil(recording.duration_s / window_s))
        total += count
        if not blocks or total > windows:
            blocks.append([])
            total = count
        blocks[-1].append(recording)
    return blocks

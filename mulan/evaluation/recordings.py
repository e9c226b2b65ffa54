"""The recordings that a model is evaluated on: what is known about them, and the vectors of their windows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_WINDOWS_AT_ONCE = 16_384
"""Number of windows that are averaged at once in float64, about: recordings are not divided."""


@dataclass(frozen=True)
class LabelledRecording:
    """What a corpus states about a recording."""

    recording_id: str
    """Id, unique in the corpus."""
    split: str
    """``train``, ``validation`` or ``test``."""
    tags: tuple[str, ...] = ()
    """Tags, ``category:text``."""
    texts: Mapping[str, tuple[str, ...]] | None = None
    """Texts by source; None if they were not read."""
    artist: str = ""
    """Artist; empty if unknown."""
    title: str = ""
    """Title; empty if unknown."""
    targets: Mapping[str, float] | None = None
    """Numbers that models are evaluated on, such as ``arousal``; None if there are none."""

    def texts_of(self, source: str) -> tuple[str, ...]:
        """Returns the texts of a source; empty if there are none."""
        return (self.texts or {}).get(source, ())


@dataclass(frozen=True, eq=False)
class EmbeddedRecordings:
    """Recordings with the vectors of their windows, in ascending order of the ids."""

    recordings: tuple[LabelledRecording, ...]
    """The recordings, at least one."""
    vectors: np.ndarray
    """Vectors of windows, float32 [rows, d], which parts of a corpus share: there may be those of other recordings."""
    starts: np.ndarray
    """Number among the windows of the first one of each recording, and their total number, int64 [recordings + 1]."""
    is_unit: bool
    """Whether the mean of a recording's windows is normalised."""
    rows: np.ndarray | None = None
    """Row in ``vectors`` of each window, one recording after another, int64 [windows]; None if they are all rows, in
    their order."""

    @property
    def num_windows(self) -> int:
        """Number of windows of all recordings."""
        return int(self.starts[-1])

    @property
    def dim(self) -> int:
        """Size d of the vectors."""
        return self.vectors.shape[1]

    @property
    def windows(self) -> np.ndarray:
        """Vectors of the windows of all recordings, one recording after another, float32 [windows, d].

        Of a part of a corpus they are copied, which :meth:`windows_at` avoids.
        """
        return self.windows_at(slice(None))

    def windows_at(self, numbers: slice | np.ndarray) -> np.ndarray:
        """Returns the vectors of windows, float32 [number of them, d].

        Args:
            numbers: Their numbers among the windows of all recordings, int64 [number of them], or a slice of them.
        """
        return self.vectors[numbers if self.rows is None else self.rows[numbers]]

    @property
    def means(self) -> np.ndarray:
        """Vector of each recording, the mean over its windows, float32 [recordings, d].

        With ``is_unit`` rows are unit vectors, or 0 if the windows cancel: such a recording is equally similar to all
        texts.
        """
        means = np.empty((len(self.recordings), self.dim), np.float32)
        blocks = np.searchsorted(self.starts, np.arange(0, self.num_windows + _WINDOWS_AT_ONCE, _WINDOWS_AT_ONCE))
        for first, last in pairwise(np.unique(np.minimum(blocks, len(means))).tolist()):
            starts = self.starts[first : last + 1]
            windows = self.windows_at(slice(starts[0], starts[-1])).astype(np.float64)
            rows = np.add.reduceat(windows, starts[:-1] - starts[0], axis=0) / np.diff(starts)[:, None]
            if self.is_unit:
                norms = np.linalg.norm(rows, axis=1, keepdims=True)
                rows /= np.where(norms > 0, norms, 1)
            means[first:last] = rows
        return means

    def averaged(self) -> "EmbeddedRecordings":
        """Returns the recordings with one vector each, their mean, so that those of the windows can be freed."""
        return EmbeddedRecordings(self.recordings, self.means, np.arange(len(self.recordings) + 1), self.is_unit)

    def select(self, rows: Sequence[int] | np.ndarray) -> "EmbeddedRecordings":
        """Returns the recordings of these rows, in this order. Their vectors are not copied."""
        chosen = np.asarray(rows, np.int64)
        counts = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)])
        index = np.repeat(self.starts[:-1][chosen] - starts[:-1], counts) + np.arange(starts[-1])
        recordings = tuple(self.recordings[row] for row in chosen.tolist())
        return EmbeddedRecordings(
            recordings, self.vectors, starts, self.is_unit, index if self.rows is None else self.rows[index]
        )

    def of_splits(self, *splits: str) -> "EmbeddedRecordings":
        """Returns the recordings of these splits."""
        return self.where(lambda recording: recording.split in splits)

    def where(self, keep: Callable[[LabelledRecording], bool]) -> "EmbeddedRecordings":
        """Returns the recordings for which ``keep`` is True; there may be none."""
        return self.select([row for row, each in enumerate(self.recordings) if keep(each)])


@dataclass(frozen=True, eq=False)
class TaskAudio:
    """The recordings of a task that an encoder has embedded."""

    model: str
    """Name of the encoder."""
    scored: EmbeddedRecordings
    """The recordings of the splits that are scored, with one vector each."""


def multi_hot(recordings: Sequence[LabelledRecording], tags: Sequence[str]) -> np.ndarray:
    """Returns bool [recordings, tags], True if the recording has the tag.

    Args:
        recordings: The recordings.
        tags: Distinct tags, ``category:text``.
    """
    columns = {tag: column for column, tag in enumerate(tags)}
    labels = np.zeros((len(recordings), len(tags)), dtype=bool)
    for row, recording in enumerate(recordings):
        for tag in recording.tags:
            if tag in columns:
                labels[row, columns[tag]] = True
    return labels

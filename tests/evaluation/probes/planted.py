"""Recordings with vectors of which the answer is known."""

from collections.abc import Mapping, Sequence

import numpy as np

from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording


def embedded(
    vectors: np.ndarray | Sequence[np.ndarray],
    *,
    splits: Sequence[str] | None = None,
    tags: Sequence[Sequence[str]] | None = None,
    targets: Sequence[Mapping[str, float]] | None = None,
    artists: Sequence[str] | None = None,
) -> EmbeddedRecordings:
    """Returns recordings with one window each, [recordings, d], or with several, [windows, d] of each recording.

    All are of the training split if no splits are named.
    """
    windows = [np.atleast_2d(each).astype(np.float32) for each in vectors]
    recordings = tuple(
        LabelledRecording(
            recording_id=f"rec-{number:05d}",
            split=splits[number] if splits else "train",
            tags=tuple(tags[number]) if tags else (),
            targets=targets[number] if targets else None,
            artist=artists[number] if artists else "",
        )
        for number in range(len(windows))
    )
    starts = np.cumsum([0, *map(len, windows)]).astype(np.int64)
    return EmbeddedRecordings(recordings, np.concatenate(windows), starts, is_unit=False)


def mixed_splits(recordings: int) -> list[str]:
    """Returns the splits of recordings: a half train, a quarter validation, a quarter test."""
    return [("train", "validation", "train", "test")[number % 4] for number in range(recordings)]

"""Queries of text-to-music retrieval, with the recordings that they ask for."""

from collections.abc import Sequence

from mulan.evaluation.recordings import LabelledRecording


def recordings_by_text(recordings: Sequence[LabelledRecording], source: str) -> dict[str, tuple[int, ...]]:
    """Returns every distinct text of a source in alphabetical order, with the rows of all recordings that have it.

    Args:
        recordings: The recordings with their texts.
        source: A source of texts, such as ``long_form``.

    Example:
        >>> recordings_by_text([LabelledRecording("a", "test", texts={"playlist": ("calm",)})], "playlist")
        {'calm': (0,)}
    """
    rows: dict[str, set[int]] = {}
    for row, recording in enumerate(recordings):
        for text in recording.texts_of(source):
            rows.setdefault(text, set()).add(row)
    return {text: tuple(sorted(rows[text])) for text in sorted(rows)}

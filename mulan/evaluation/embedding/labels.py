"""What a corpus states about its recordings, which is read without their audio where no audio is needed."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulan.config.parsing import parse_json
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import texts_of
from mulan.data.corpus.metadata_reading import read_metadata
from mulan.data.errors import BadRecording
from mulan.evaluation.embedding.indexed import IndexedRecording, indexed_recordings
from mulan.evaluation.recordings import LabelledRecording

_READ_AT_ONCE = 256
"""Number of recordings that are read concurrently."""

OnProgress = Callable[[int, int], None]
"""Called with the numbers of finished and of all recordings."""


def no_progress(done: int, total: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class CorpusLabels:
    """What a corpus states about its recordings."""

    recordings: tuple[LabelledRecording, ...]
    """The recordings, in ascending order of their ids."""
    skipped: Mapping[str, str]
    """Reason by id of each recording that cannot be read."""


def read_labels(corpus: Corpus, splits: Sequence[str], *, on_progress: OnProgress = no_progress) -> CorpusLabels:
    """Reads what a corpus states about the recordings of splits, without their audio.

    Args:
        corpus: A prepared corpus.
        splits: Any of ``train``, ``validation`` and ``test``.
        on_progress: Called after every few hundred recordings.

    Raises:
        EvaluationError: The splits have no recordings.
        StorageError, StoragePermanentError: The storage of the corpus failed.
    """
    recordings = indexed_recordings(corpus, splits)
    labelled: list[LabelledRecording] = []
    skipped: dict[str, str] = {}
    for first in range(0, len(recordings), _READ_AT_ONCE):
        some = recordings[first : first + _READ_AT_ONCE]
        for recording, metadata in zip(some, read_metadata([each.location for each in some]), strict=True):
            try:
                if isinstance(metadata, BadRecording):
                    raise metadata
                labelled.append(with_labels(recording, metadata))
            except BadRecording as error:
                skipped[recording.recording_id] = str(error)
        on_progress(first + len(some), len(recordings))
    return CorpusLabels(tuple(labelled), skipped)


def with_labels(recording: IndexedRecording, metadata: Mapping[str, Any]) -> LabelledRecording:
    """Returns a recording with what its metadata state. Its tags and split are those of the index.

    Raises:
        BadRecording: Texts are blank or of the wrong type, or targets are not finite numbers by name.
    """
    texts = metadata.get("texts", {})
    sources = [source for source, values in texts.items() if values] if isinstance(texts, Mapping) else ["texts"]
    return LabelledRecording(
        recording.recording_id,
        recording.split,
        recording.tags,
        {source: tuple(texts_of(metadata, source)) for source in sources},
        _name(metadata, "artist"),
        _name(metadata, "title"),
        _targets(metadata.get("targets")),
    )


def _name(metadata: Mapping[str, Any], field: str) -> str:
    """Returns a name; empty if it is unknown, also as null, so that unknown artists are not taken for one."""
    value = metadata.get(field)
    # reports are UTF-8
    return "" if value is None else str(value).encode(errors="replace").decode()


def _targets(values: Any) -> dict[str, float] | None:
    if not values:
        return None
    if not isinstance(values, Mapping) or not all(map(_is_number, values.values())):
        raise BadRecording("unusable metadata", f"targets is {values!r:.80}, not finite numbers by name")
    return {name: float(value) for name, value in values.items()}


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a JSON integer may have hundreds of digits
        return False


def labels_to_json(recording: LabelledRecording) -> str:
    """Returns everything but id and split as a JSON object, which :func:`labels_from_json` reads."""
    labels = {
        "tags": recording.tags,
        "texts": dict(recording.texts or {}),
        "artist": recording.artist,
        "title": recording.title,
        "targets": dict(recording.targets or {}),
    }
    return json.dumps(labels, ensure_ascii=False)


def labels_from_json(recording_id: str, split: str, labels: str) -> LabelledRecording:
    """Returns the recording of a JSON object.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It is no such object.
    """
    values = parse_json(labels)
    texts = {source: tuple(texts) for source, texts in values["texts"].items()}
    return LabelledRecording(
        recording_id, split, tuple(values["tags"]), texts, values["artist"], values["title"], values["targets"] or None
    )

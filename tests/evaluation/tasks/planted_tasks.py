"""Corpora for tasks, and models of known skill: one that knows all tags, and one that ignores its input."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.protocols.protocol import Evaluated
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.vocabularies.audioset_classes import class_list


class OneHotTexts:
    """Embeds each text of a list as a direction of its own."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self.info = EncoderInfo(
            "planted", "function", "", "0" * 64, 16_000, 160_000, len(self.rows), is_unit=True, embeds_text=True
        )

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        raise AssertionError("the recordings have vectors")

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(len(self.rows), dtype=np.float32)[[self.rows[text] for text in texts]]


class ConstantTexts(OneHotTexts):
    """Embeds all texts as the same vector."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(np.eye(1, len(self.rows), dtype=np.float32), (len(texts), 1))


class LastWords(OneHotTexts):
    """Embeds a text as the direction of its last word."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return super().embed_text([text.split()[-1] for text in texts])


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def words(tags: Iterable[str]) -> list[str]:
    """Returns the texts of tags, which are the prompts."""
    return [tag.split(":", 1)[1] for tag in tags]


def texts_of(recording: LabelledRecording) -> list[str]:
    """Returns the texts of a recording's tags, and all its other texts."""
    return [*words(recording.tags), *(text for texts in (recording.texts or {}).values() for text in texts)]


def tagged_recordings(lists: Sequence[Sequence[str]], *, each: int = 3) -> list[LabelledRecording]:
    """Returns recordings of each split, by an artist each, with one tag of each list.

    Args:
        lists: Lists of tags, all of the same length; recordings with a tag of one list have all tags of the others.
        each: Number of recordings of each split with a tag.
    """
    size = len(lists[0])
    return [
        LabelledRecording(
            f"{split}-{row}-{number}",
            split,
            tuple(tags[(row + number * shift) % size] for shift, tags in enumerate(lists)),
            artist=f"{split}-{row}-{number}",
        )
        for split in ("train", "validation", "test")
        for row in range(size)
        for number in range(each)
    ]


def captioned_recordings(count: int, *, source: str) -> list[LabelledRecording]:
    """Returns recordings of the test split with a text each."""
    return [LabelledRecording(f"{row:02}", "test", texts={source: (f"text {row}",)}) for row in range(count)]


def perfect_model(
    recordings: Sequence[LabelledRecording], prompts: Sequence[str] = (), *, constant: bool = False
) -> Evaluated:
    """Returns a model whose vector of a recording is the sum of the directions of its tags and texts.

    Args:
        recordings: The recordings, each with a tag or a text.
        prompts: Further texts that the model is asked for.
        constant: Whether all recordings and all texts get the same vector instead.
    """
    ordered = tuple(sorted(recordings, key=lambda recording: recording.recording_id))
    encoder = (ConstantTexts if constant else OneHotTexts)(
        [*prompts, *(text for each in ordered for text in texts_of(each))]
    )
    vectors = np.stack([encoder.embed_text(texts_of(each)).sum(axis=0) for each in ordered])
    return model_of(ordered, vectors, encoder)


def model_of(
    recordings: Sequence[LabelledRecording], vectors: np.ndarray, encoder: OneHotTexts, *, replicates: int = 5
) -> Evaluated:
    """Returns a model with one to three equal windows of each recording, whose vectors are normalised."""
    counts = 1 + np.arange(len(recordings)) % 3
    windows = np.repeat(unit(vectors), counts, axis=0)
    audio = EmbeddedRecordings(tuple(recordings), windows, np.cumsum([0, *counts]), is_unit=True)
    return Evaluated(encoder=encoder, audio=audio, recordings=tuple(recordings), replicates=replicates)


def ontology_file(folder: Path) -> str:
    """Writes an ontology whose descriptions are made of the names of its classes."""
    entries = [
        {"id": mid, "name": name, "description": f"It is {name.split()[-1]}"}
        for mid, name in class_list("mu_141_without_roles").classes.items()
    ]
    (folder / "ontology.json").write_text(json.dumps(entries))
    return str(folder / "ontology.json")

"""The Batch: the contract between the CPU workers that read it and the training workers that consume it."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from mulan.data.errors import SkippedRecording
from mulan.data.schedule import Item, Phase

NOT_PREDICTED = -100
"""Target that is ignored, by the convention of cross-entropy (``ignore_index``)."""


@dataclass(frozen=True)
class Masks:
    """The masks and targets of m pairs for masked prediction (MuLaP §2.2).

    Attributes:
        token_targets: Ids of the tokens to predict, and -100 elsewhere, int64 [m, L]; L is 0 without targets.
        segment_hidden: Mask of the segments, uint8 [m, segments]; 1 where the feature of a segment is masked.
        matched: Targets of audio-text matching, uint8 [m]; 0 where the caption is that of another recording.
    """

    token_targets: np.ndarray
    segment_hidden: np.ndarray
    matched: np.ndarray

    def __post_init__(self) -> None:
        m = len(self.matched)
        assert self.token_targets.dtype == np.int64 and len(self.token_targets) == m
        assert self.segment_hidden.dtype == self.matched.dtype == np.uint8 and len(self.segment_hidden) == m


_MASKS = tuple(field.name for field in fields(Masks))


@dataclass(frozen=True)
class Batch:
    """One micro-batch of m pairs.

    Attributes:
        item: Phase, step and number of the micro-batch.
        waveform: Mono windows, int16 [m, views, samples]; views is 1 unless an objective compares several windows.
        token_ids: Null-padded token ids, int64 [m, L]; L depends only on the texts, and is 0 if no objective uses text.
        attention_mask: Mask of the tokens, int64 [m, L]; 1 for tokens and 0 for padding.
        tags: Multi-hot tags, uint8 [m, C]; 1 where the recording has the tag. C is 0 if no objective uses tags.
        recording_id: Ids of the m recordings.
        skipped: Recordings of the plan that could not be used and were replaced.
        masks: Masks and targets; None if no objective uses them. With masks, ``token_ids`` is the model's input: tokens
            are masked, and mismatched captions are those of other recordings.
    """

    item: Item
    waveform: np.ndarray
    token_ids: np.ndarray
    attention_mask: np.ndarray
    tags: np.ndarray
    recording_id: tuple[str, ...]
    skipped: tuple[SkippedRecording, ...]
    masks: Masks | None = None

    def __post_init__(self) -> None:
        m = len(self.recording_id)
        assert self.waveform.dtype == np.int16 and self.waveform.ndim == 3 and len(self.waveform) == m, (
            f"waveform {self.waveform.dtype} {self.waveform.shape} for {m} pairs"
        )
        assert self.token_ids.dtype == self.attention_mask.dtype == np.int64
        assert self.token_ids.shape == self.attention_mask.shape and len(self.token_ids) == m
        assert self.tags.dtype == np.uint8 and self.tags.ndim == 2 and len(self.tags) == m
        assert self.masks is None or len(self.masks.matched) == m

    @property
    def pairs(self) -> int:
        """Number of pairs, m."""
        return len(self.recording_id)

    def to_columns(self) -> dict[str, Any]:
        """Converts the batch to one table row for Ray Data: columns of length 1."""
        about = {"item": self.item, "recording_id": self.recording_id, "skipped": [astuple(r) for r in self.skipped]}
        return {
            "waveform": self.waveform[None],
            "token_ids": self.token_ids[None],
            "attention_mask": self.attention_mask[None],
            "tags": self.tags[None],
            "about": [json.dumps(about)],
            **({name: array[None] for name, array in vars(self.masks).items()} if self.masks else {}),
        }

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Batch":
        """Converts the columns of :meth:`to_columns` back to a batch."""
        about = json.loads(columns["about"][0])
        phase, step, micro_batch = about["item"]
        arrays = {name: np.asarray(column[0]) for name, column in columns.items() if name != "about"}
        return cls(
            item=Item(Phase(phase), step, micro_batch),
            recording_id=tuple(about["recording_id"]),
            skipped=tuple(SkippedRecording(*entry) for entry in about["skipped"]),
            masks=Masks(**{name: arrays.pop(name) for name in _MASKS}) if "matched" in arrays else None,
            **arrays,
        )

"""The Batch: the contract between the CPU workers that make it and the training workers that use it."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from mulan.data.schedule import Item, Phase

TOKEN_MULTIPLE = 8
"""Padding beyond the longest text of a micro-batch is dropped, down to a multiple of this."""


@dataclass(frozen=True)
class Replaced:
    """A recording that could not be used, and why."""

    recording_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Batch:
    """One micro-batch of m pairs.

    Attributes:
        item: which micro-batch of the run this is.
        waveform: int16 [m, views, samples], mono; views is 1 unless an objective compares several windows.
        token_ids: int64 [m, L], null-padded; L is the same function of the texts wherever it is computed. L is 0 where
            no text is wanted.
        attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
        tags: uint8 [m, C], 1 where the recording bears the tag; C is 0 where no objective asks for tags.
        recording_id: m names.
        replaced: recordings in whose place others stand here.
    """

    item: Item
    waveform: np.ndarray
    token_ids: np.ndarray
    attention_mask: np.ndarray
    tags: np.ndarray
    recording_id: tuple[str, ...]
    replaced: tuple[Replaced, ...]

    def __post_init__(self) -> None:
        m = len(self.recording_id)
        assert self.waveform.dtype == np.int16 and self.waveform.ndim == 3 and len(self.waveform) == m, (
            f"waveform {self.waveform.dtype} {self.waveform.shape} for {m} pairs"
        )
        assert self.token_ids.dtype == self.attention_mask.dtype == np.int64
        assert self.token_ids.shape == self.attention_mask.shape and len(self.token_ids) == m
        assert self.tags.dtype == np.uint8 and self.tags.ndim == 2 and len(self.tags) == m

    @property
    def pairs(self) -> int:
        return len(self.recording_id)

    def to_columns(self) -> dict[str, Any]:
        """As one table row, the shape in which it travels through Ray Data: columns of leading length 1."""
        about = {"item": self.item, "recording_id": self.recording_id, "replaced": [astuple(r) for r in self.replaced]}
        return {
            "waveform": self.waveform[None],
            "token_ids": self.token_ids[None],
            "attention_mask": self.attention_mask[None],
            "tags": self.tags[None],
            "about": [json.dumps(about)],
        }

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Batch":
        """Inverse of :meth:`to_columns`, less the padding that no text of the micro-batch needs."""
        about = json.loads(columns["about"][0])
        phase, step, micro_batch = about["item"]
        token_ids, attention_mask = np.asarray(columns["token_ids"][0]), np.asarray(columns["attention_mask"][0])
        longest = int(attention_mask.sum(axis=1).max())
        kept = min(token_ids.shape[1], -(-longest // TOKEN_MULTIPLE) * TOKEN_MULTIPLE)
        return cls(
            Item(Phase(phase), step, micro_batch),
            np.asarray(columns["waveform"][0]),
            token_ids[:, :kept],
            attention_mask[:, :kept],
            np.asarray(columns["tags"][0]),
            tuple(about["recording_id"]),
            tuple(Replaced(*fields) for fields in about["replaced"]),
        )

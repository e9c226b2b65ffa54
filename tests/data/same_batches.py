"""Bitwise comparison of batches."""

import numpy as np

from mulan.data.batch import Batch
from mulan.data.schedule import Phase


def assert_equal(ours: Batch, reference: Batch) -> None:
    assert (ours.item, ours.recording_id, ours.skipped) == (reference.item, reference.recording_id, reference.skipped)
    assert isinstance(ours.item.phase, Phase)
    for name in ("waveform", "token_ids", "attention_mask", "tags"):
        assert_same(getattr(ours, name), getattr(reference, name))
    assert (ours.masks is None) == (reference.masks is None)
    if ours.masks and reference.masks:
        for name in ("token_targets", "segment_hidden", "matched"):
            assert_same(getattr(ours.masks, name), getattr(reference.masks, name))


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert np.array_equal(one, other)

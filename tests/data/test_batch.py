"""Tests the conversion of batches to table rows and back."""

import numpy as np
import pytest

from mulan.data.batch import Batch, Masks
from mulan.data.errors import SkippedRecording
from mulan.data.schedule import Item, Phase
from tests.data.same_batches import assert_equal


def batch_of(lengths: list[int], max_tokens: int, *, views: int = 1, masks: Masks | None = None) -> Batch:
    """Returns a batch whose texts have given numbers of tokens."""
    rng = np.random.default_rng(0)
    mask = (np.arange(max_tokens) < np.array(lengths)[:, None]).astype(np.int64)
    return Batch(
        item=Item(Phase.VALIDATE, 7, 3),
        waveform=rng.integers(-(2**15), 2**15, (len(lengths), views, 50)).astype(np.int16),
        token_ids=rng.integers(1, 30_000, mask.shape) * mask,
        attention_mask=mask,
        tags=rng.integers(0, 2, (len(lengths), 3)).astype(np.uint8),
        recording_id=tuple(f"夜曲 {number}" for number in range(len(lengths))),
        skipped=(SkippedRecording("a", "missing shard", "shards/\n'9'.tar"), SkippedRecording("b", "no samples", "")),
        masks=masks,
    )


def masks_of(pairs: int, max_tokens: int) -> Masks:
    rng = np.random.default_rng(1)
    return Masks(
        token_targets=rng.integers(-100, 30_000, (pairs, max_tokens)),
        segment_hidden=rng.integers(0, 2, (pairs, 5)).astype(np.uint8),
        matched=rng.integers(0, 2, pairs).astype(np.uint8),
    )


@pytest.mark.parametrize("targets", [None, 16, 0])
@pytest.mark.parametrize("views", [1, 2])
def test_columns_are_converted_back_to_the_same_batch(targets: int | None, views: int) -> None:
    """Columns include padding that no text needs, and no targets if no token is predicted."""
    masks = None if targets is None else masks_of(3, targets)
    batch = batch_of([9, 3, 12], 16, views=views, masks=masks)
    columns = batch.to_columns()
    assert {len(column) for column in columns.values()} == {1}
    back = Batch.from_columns(columns)
    assert back.waveform.shape == (3, views, 50)
    assert back.token_ids.shape == back.attention_mask.shape == (3, 16)
    assert (back.masks is None) == (targets is None)
    assert back.masks is None or back.masks.token_targets.shape == (3, targets)
    assert_equal(back, batch)

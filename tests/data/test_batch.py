"""Batches as the rows of a table, in which they travel."""

from dataclasses import replace

import numpy as np
import pytest

from mulan.data.batch import TOKEN_MULTIPLE, Batch, Masks
from mulan.data.errors import SkippedRecording
from mulan.data.schedule import Item, Phase
from tests.data.same_batches import assert_equal


def batch_of(lengths: list[int], max_tokens: int, *, views: int = 1, masks: Masks | None = None) -> Batch:
    """A batch whose texts have these numbers of tokens."""
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


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "kept"),
    [([3, 5, 2], 32, 8), ([8, 1], 32, 8), ([9, 1], 32, 16), ([32, 3], 32, 32), ([9, 3], 12, 12), ([5, 3], 6, 6)],
)
def test_columns_lose_nothing_but_padding(lengths: list[int], max_tokens: int, kept: int) -> None:
    whole = batch_of(lengths, max_tokens)
    columns = whole.to_columns()
    assert {len(column) for column in columns.values()} == {1}
    back = Batch.from_columns(columns)
    assert back.token_ids.shape == back.attention_mask.shape == (len(lengths), kept)
    assert not whole.attention_mask[:, kept:].any()
    assert kept - max(lengths) < TOKEN_MULTIPLE
    cut = Batch(
        whole.item,
        whole.waveform,
        whole.token_ids[:, :kept],
        whole.attention_mask[:, :kept],
        whole.tags,
        whole.recording_id,
        whole.skipped,
    )
    assert_equal(back, cut)
    assert_equal(Batch.from_columns(back.to_columns()), back)


@pytest.mark.parametrize("targets", [32, 0])
def test_columns_carry_views_and_masks(targets: int) -> None:
    """Targets are cut like the tokens that they are of; there are none where no token is to be predicted."""
    whole = batch_of([9, 3, 12], 32, views=2, masks=masks_of(3, targets))
    columns = whole.to_columns()
    assert {len(column) for column in columns.values()} == {1}
    back = Batch.from_columns(columns)
    assert back.waveform.shape == (3, 2, 50)
    assert back.masks is not None and back.masks.token_targets.shape == (3, min(16, targets))
    assert whole.masks is not None
    kept = replace(whole.masks, token_targets=whole.masks.token_targets[:, :16])
    cut = replace(whole, token_ids=whole.token_ids[:, :16], attention_mask=whole.attention_mask[:, :16], masks=kept)
    assert_equal(back, cut)
    assert_equal(Batch.from_columns(back.to_columns()), back)
    assert Batch.from_columns(batch_of([3], 8).to_columns()).masks is None

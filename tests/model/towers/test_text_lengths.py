"""Tests that groups of texts by length have every text once, and the fewest padded tokens."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from mulan.model.towers.text_lengths import batches_of_equal_length, length_groups

LENGTHS = torch.tensor([3, 12, 5, 4, 12, 7])


def mask_of(lengths: torch.Tensor) -> torch.Tensor:
    return (torch.arange(12) < lengths[:, None]).long()


def test_groups_hold_every_text_once_and_are_padded_to_their_own_longest() -> None:
    groups = length_groups(mask_of(LENGTHS).numpy(), 3)
    assert [group.rows.tolist() for group in groups] == [[0, 3], [2, 5], [1, 4]]
    assert [group.max_length for group in groups] == [4, 7, 12]
    assert {group.rows.dtype for group in groups} == {torch.int64}
    assert len(length_groups(mask_of(LENGTHS), 9)) == len(LENGTHS)
    for lengths in (torch.full((5,), 12), torch.arange(1, 6)):
        assert len(length_groups(mask_of(lengths), 4)) == 4


def padded_tokens(cuts: tuple[int, ...], lengths: np.ndarray) -> int:
    ends = (0, *cuts, len(lengths))
    return sum((end - start) * int(lengths[end - 1]) for start, end in pairwise(ends))


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 7])
def test_no_other_groups_have_fewer_padded_tokens(groups: int) -> None:
    """Compares with all ways to cut the texts, ascending by length."""
    generator = np.random.default_rng(groups)
    for most in (2, 5, 40):
        lengths = generator.integers(1, most + 1, size=12)
        found = length_groups((np.arange(most) < lengths[:, None]).astype(np.int64), groups)
        assert sorted(row for group in found for row in group.rows.tolist()) == list(range(12))
        tokens = sum(len(group.rows) * group.max_length for group in found)
        ascending = np.sort(lengths)
        assert len(found) == groups
        assert tokens == min(padded_tokens(cuts, ascending) for cuts in combinations(range(1, 12), groups - 1))


def test_batches_hold_every_text_once_with_those_of_its_length() -> None:
    token_ids = [[7] * length for length in (3, 5, 3, 1, 3, 5)]
    assert list(batches_of_equal_length(token_ids, 2)) == [[3], [0, 2], [4], [1, 5]]
    assert list(batches_of_equal_length(token_ids, 9)) == [[3], [0, 2, 4], [1, 5]]
    assert list(batches_of_equal_length([], 2)) == []

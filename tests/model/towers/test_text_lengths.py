"""Tests that groups of texts by length have every text once, and are padded to their own longest text."""

import torch

from mulan.model.towers.text_lengths import length_groups

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

"""Grouping of texts by length.

This is a separate module so that batches can be grouped without importing a model.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class LengthGroup(NamedTuple):
    """Texts of similar length within a micro-batch."""

    rows: Tensor
    """Indices of the texts in the micro-batch, int64 [k], ascending."""
    max_length: int
    """Number of tokens of the longest text."""


def length_groups(attention_mask: np.ndarray | Tensor, groups: int) -> tuple[LengthGroup, ...]:
    """Groups texts of similar length, so that each group is padded only to its own longest text.

    The number of groups is ``min(groups, m)`` for all lengths, since with ZeRO stage 3 all workers must gather the same
    weights in the same order.

    Args:
        attention_mask: int64 [m, L] on the host, where reading it does not synchronise; padding follows the tokens.
        groups: Maximum number of groups, at least 1.

    Returns:
        Groups from short to long texts; their ``rows`` are on the host.
    """
    lengths = np.asarray(attention_mask).sum(axis=1)
    by_length = np.argsort(lengths, kind="stable")
    return tuple(
        LengthGroup(torch.from_numpy(np.sort(rows)), int(lengths[rows].max()))
        for rows in np.array_split(by_length, min(groups, len(lengths)))
    )

"""Texts of like length, which share their padding."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class LengthGroup(NamedTuple):
    """Texts of like length within a micro-batch."""

    rows: Tensor
    """int64 [k], their places in the micro-batch, ascending; on the device of the token ids."""
    longest: int
    """Tokens of the longest of them."""


def length_groups(attention_mask: np.ndarray | Tensor, groups: int) -> tuple[LengthGroup, ...]:
    """Texts in groups of like length, each to be padded to its own longest only.

    Always ``min(groups, m)`` groups, whatever the lengths: under ZeRO 3 every worker must gather the same weights in
    the same order.

    Args:
        attention_mask: int64 [m, L] on the host, where it can be looked at without waiting for a device; padding
            follows the tokens.
        groups: at least 1.

    Returns:
        Groups from short texts to long ones; their ``rows`` are on the host.
    """
    lengths = np.asarray(attention_mask).sum(axis=1)
    by_length = np.argsort(lengths, kind="stable")
    return tuple(
        LengthGroup(torch.from_numpy(np.sort(rows)), int(lengths[rows].max()))
        for rows in np.array_split(by_length, min(groups, len(lengths)))
    )

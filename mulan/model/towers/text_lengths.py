"""Grouping of texts by length.

This is a separate module so that batches can be grouped without importing a model.
"""

from collections.abc import Iterator, Sequence
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
        Groups from short to long texts with the fewest padded tokens in all; their ``rows`` are on the host.
    """
    lengths = np.asarray(attention_mask).sum(axis=1)
    by_length = np.argsort(lengths, kind="stable")
    cuts = _cuts(lengths[by_length], min(groups, len(lengths)))
    return tuple(
        LengthGroup(torch.from_numpy(np.sort(rows)), int(lengths[rows].max())) for rows in np.split(by_length, cuts)
    )


def batches_of_equal_length(token_ids: Sequence[Sequence[int]], texts_at_once: int) -> Iterator[list[int]]:
    """Yields batches of texts with equal numbers of tokens, from short to long ones, so that no text is padded.

    Args:
        token_ids: Token ids of each text.
        texts_at_once: Maximum number of texts in a batch, at least 1.

    Yields:
        Indices of the texts in a batch, ascending; those of all batches are each index once.
    """
    by_length: dict[int, list[int]] = {}
    for index, ids in enumerate(token_ids):
        by_length.setdefault(len(ids), []).append(index)
    for _, indices in sorted(by_length.items()):
        for first in range(0, len(indices), texts_at_once):
            yield indices[first : first + texts_at_once]


def _cuts(lengths: np.ndarray, groups: int) -> np.ndarray:
    """Returns where to cut ascending lengths into ``groups`` groups, int64 [groups - 1], by dynamic programming.

    Cuts between equal lengths save nothing, so only changes of the length are candidates, and as many others as there
    must be groups.
    """
    changes = np.flatnonzero(np.diff(lengths)) + 1
    even = np.arange(groups + 1) * len(lengths) // groups
    ends = np.union1d(changes, even)
    # [i, j]: numbers of texts and of padded tokens of a group from ends[i] to ends[j]
    texts = ends[None, :] - ends[:, None]
    tokens = np.where(texts > 0, texts * lengths[ends - 1], np.inf)
    least, previous = tokens[0], []
    for _ in range(groups - 1):
        totals = least[:, None] + tokens
        previous.append(totals.argmin(axis=0))
        least = totals.min(axis=0)
    path = [len(ends) - 1]
    for best in reversed(previous):
        path.append(int(best[path[-1]]))
    return ends[path[:0:-1]]

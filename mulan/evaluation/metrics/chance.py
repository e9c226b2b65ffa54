"""The scores of retrieval that random orders of the items have on average."""

from collections.abc import Sequence

import numpy as np

from mulan.evaluation.metrics.retrieval import CUTOFF

_ROUNDING = 1e-9
"""Difference of probabilities that counts as rounding."""


def chance_of_retrieval(gold_counts: Sequence[int], num_items: int) -> dict[str, float]:
    """Returns the scores of random orders, by their names in :class:`.RetrievalScores`.

    All are expected values, except for the median rank, which is the median of the rank of a random query in a random
    order: with one gold item (N + 1) / 2 of N items. The mean reciprocal rank is then (1 + 1/2 + ... + 1/N) / N.

    Args:
        gold_counts: Number of gold items of each query, at least one query and one item.
        num_items: Number of items that are searched.

    Example:
        >>> chance_of_retrieval([1, 1], 4)["median_rank"]
        2.5
    """
    sizes, weights = np.unique(np.asarray(gold_counts), return_counts=True)
    shares = weights / weights.sum()
    found = np.zeros(num_items)
    scores = {"roc_auc": 0.5, "map": 0.0, "map10": 0.0, "mrr": 0.0}
    ranks = np.arange(1, num_items + 1)
    for gold, share in zip(sizes.tolist(), shares.tolist(), strict=True):
        missed = np.cumprod(np.maximum(num_items - gold - ranks + 1, 0) / (num_items - ranks + 1))
        found += share * (1 - missed)  # probability that the best gold item has this rank, or a better one
        scores["mrr"] += share * float((-np.diff(missed, prepend=1) / ranks).sum())
        # a gold item is at a rank with probability G / N, and so is, then, each item above it with (G - 1) / (N - 1)
        others = (ranks - 1) * (gold - 1) / max(num_items - 1, 1)
        precision = gold / num_items * (1 + others) / ranks
        scores["map"] += share * float(precision.sum() / gold)
        scores["map10"] += share * float(precision[:CUTOFF].sum() / min(gold, CUTOFF))
    recalls = {f"recall{cutoff}": float(found[min(cutoff, num_items) - 1]) for cutoff in (1, 5, 10)}
    lower, upper = (int(np.searchsorted(found, 0.5 + error)) + 1 for error in (-_ROUNDING, _ROUNDING))
    return {**scores, **recalls, "median_rank": (lower + upper) / 2}

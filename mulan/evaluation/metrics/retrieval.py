"""Retrieval metrics as pure functions of vectors, similarities and the relevant items of each query.

Similarities are ranked in float64, since lower precisions create ties. Items with equal similarities are counted
against the query where a rank is asked for, half in the ROC-AUC, and share one threshold in the average precision.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mulan.evaluation.metrics.tagging import mean

CUTOFF = 10
"""Number of hits that ``map10`` and ``recall10`` consider."""

_GRID = 2.0**40
_BLOCK_BYTES = 64 * 2**20
"""Maximum size of the part of the similarity matrix that is held at a time."""


@dataclass(frozen=True)
class GoldPositions:
    """Where the gold items of one query are among all items, by descending similarity."""

    others_above: np.ndarray
    """Number of other items with a higher similarity than each gold item, int64 [gold]."""
    others_equal: np.ndarray
    """Number of other items with the same similarity as each gold item, int64 [gold]."""
    gold_at_least: np.ndarray
    """Number of gold items with at least the similarity of each gold item, itself included, int64 [gold]."""
    num_items: int
    """Number of items that were searched."""

    @property
    def ranks(self) -> np.ndarray:
        """Ranks of the gold items, int64 [gold], 1-based and strictly increasing; ties count against the query.

        The j-th best gold item has rank j + the number of other items that are at least as similar.
        """
        return np.arange(1, len(self.others_above) + 1) + self.others_above + self.others_equal

    @property
    def roc_auc(self) -> float:
        """Share of (gold item, other item) pairs in the right order, ties counting half; NaN without other items."""
        others = self.num_items - len(self.others_above)
        if not others:
            return float("nan")
        return float((1 - (self.others_above + self.others_equal / 2) / others).mean())

    @property
    def average_precision(self) -> float:
        """Sum over thresholds of the precision times the recall gained; equal similarities share one threshold."""
        return float((self.gold_at_least / (self.gold_at_least + self.others_above + self.others_equal)).mean())

    @property
    def average_precision_at_cutoff(self) -> float:
        """Average precision at 10: the sum of precisions at the ranks of those of the G gold items that are among the
        first ten, divided by min(G, 10). With one gold item it is 1 / rank, or 0 for ranks above 10."""
        ranks = self.ranks
        within, hits = ranks <= CUTOFF, np.arange(1, len(ranks) + 1)
        return float((hits[within] / ranks[within]).sum() / min(len(ranks), CUTOFF))


@dataclass(frozen=True)
class RetrievalScores:
    """Averages over queries. The rank of a query is the 1-based rank of its best gold item."""

    roc_auc: float
    """Area under the ROC curve (MuLan §4.1.3), in [0, 1]; chance is 0.5. NaN if every item is gold for every query."""
    map: float
    """Mean average precision over all items (MuLan §4.1.3), in [0, 1]; of equal similarities it is ``prevalence``."""
    map10: float
    """Mean average precision at 10, in [0, 1]; see :attr:`GoldPositions.average_precision_at_cutoff`."""
    recall1: float
    """Share of queries with rank 1."""
    recall5: float
    """Share of queries with rank 5 or better."""
    recall10: float
    """Share of queries with rank 10 or better."""
    median_rank: float
    """Median of the queries' ranks."""
    mrr: float
    """Mean reciprocal rank, in (0, 1]."""
    prevalence: float
    """Share of the items that are gold, averaged over queries."""
    num_queries: int
    """Number of queries."""
    num_items: int
    """Number of items that were searched."""


def gold_positions(scores: np.ndarray, gold: Sequence[int]) -> GoldPositions:
    """Locates a query's gold items among all items.

    Args:
        scores: [items], similarity of each item to the query.
        gold: Distinct indices into ``scores``, at least one.

    Example:
        >>> gold_positions(np.array([0.9, 0.5, 0.7, 0.1]), gold=[2, 3]).ranks.tolist()
        [2, 4]
    """
    assert 0 < len(set(gold)) == len(gold), "a query needs distinct gold items"
    scores = scores.astype(np.float64, copy=False)
    ascending = np.sort(scores[np.asarray(gold)])
    of_gold = ascending[::-1]
    all_above, all_not_below = _counts(np.sort(scores[scores >= ascending[0]]), of_gold)  # no other item matters
    gold_above, gold_not_below = _counts(ascending, of_gold)
    return GoldPositions(
        others_above=all_above - gold_above,
        others_equal=all_not_below - gold_not_below - (all_above - gold_above),
        gold_at_least=gold_not_below,
        num_items=len(scores),
    )


def _counts(ascending: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many of the values are above each score, and how many are not below it."""
    not_below, above = (len(ascending) - np.searchsorted(ascending, scores, side=side) for side in ("left", "right"))
    return above, not_below


def rounded(similarity: np.ndarray) -> np.ndarray:
    """Rounds similarities in place to multiples of 2^-40 (1e-12), and returns them.

    Equal vectors then have equal similarities. The order in which a matrix product adds depends on the position in the
    matrix, and a model that gives all recordings the same vector would not be at chance.
    """
    similarity *= _GRID
    np.rint(similarity, out=similarity)
    similarity /= _GRID
    return similarity


def search(queries: np.ndarray, items: np.ndarray, gold: Sequence[Sequence[int]]) -> Iterator[GoldPositions]:
    """Yields where the gold items of each query are among all items by cosine similarity, in blocks of queries.

    The memory that it needs does not depend on the number of queries.

    Args:
        queries: Unit vectors [queries, d].
        items: Unit vectors [items, d] of the collection, each item once.
        gold: Indices of each query's gold items.
    """
    collection = np.ascontiguousarray(items.astype(np.float64).T)
    at_once = max(1, _BLOCK_BYTES // (8 * len(items)))
    for start in range(0, len(queries), at_once):
        similarity = rounded(queries[start : start + at_once].astype(np.float64) @ collection)
        for row, scores in enumerate(similarity):
            yield gold_positions(scores, gold[start + row])


def retrieval_scores(positions: Sequence[GoldPositions]) -> RetrievalScores:
    """Averages over queries.

    Args:
        positions: Results of :func:`gold_positions` for each query, at least one.

    Example:
        >>> scores = np.array([0.9, 0.5, 0.7, 0.1])
        >>> result = retrieval_scores([gold_positions(scores, gold) for gold in ([2, 3], [0])])
        >>> result.map10, result.recall1, result.median_rank
        (0.75, 0.5, 1.5)
    """
    assert positions, "no queries"
    best = np.array([each.ranks[0] for each in positions], dtype=np.float64)
    return RetrievalScores(
        roc_auc=mean([each.roc_auc for each in positions if len(each.others_above) < each.num_items]),
        map=mean([each.average_precision for each in positions]),
        map10=mean([each.average_precision_at_cutoff for each in positions]),
        recall1=float((best <= 1).mean()),
        recall5=float((best <= 5).mean()),
        recall10=float((best <= CUTOFF).mean()),
        median_rank=float(np.median(best)),
        mrr=float((1 / best).mean()),
        prevalence=mean([len(each.others_above) / each.num_items for each in positions]),
        num_queries=len(positions),
        num_items=positions[0].num_items,
    )

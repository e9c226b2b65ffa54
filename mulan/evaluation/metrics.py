"""Tagging and retrieval metrics as pure functions of similarities and truth.

Scores are ranked in float64: lower precisions create ties that are not in the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CUTOFF = 10
"""Hits counted by ``map10`` and ``recall10``."""


@dataclass(frozen=True)
class TagScore:
    """How well one tag's similarities tell the recordings that bear it from those that do not."""

    tag: str
    roc_auc: float
    average_precision: float
    prevalence: float
    """Share of recordings that bear the tag: the average precision of chance."""
    n_positives: int


@dataclass(frozen=True)
class TaggingScores:
    """Macro means over tags, each tag of equal weight; NaN where no tag could be scored."""

    roc_auc: float
    """Class-balanced area under the ROC curve (MuLan §4.1.1), in [0, 1]; chance is 0.5."""
    map: float
    """Mean average precision, in [0, 1]; chance is ``prevalence``."""
    prevalence: float
    """Mean share of recordings that bear a tag."""
    n_tags: int
    n_recordings: int
    per_tag: tuple[TagScore, ...]
    skipped: tuple[str, ...]
    """Tags that all recordings bear, or none: neither metric is defined for them."""


@dataclass(frozen=True)
class RetrievalScores:
    """Means over queries. The rank of a query is the 1-based rank of its best gold item."""

    map10: float
    """Mean average precision of the first ten hits, in [0, 1]; see :func:`retrieval_scores`."""
    recall1: float
    """Share of queries whose best gold item comes first; ``recall5`` and ``recall10``: among the first 5 and 10."""
    recall5: float
    recall10: float
    median_rank: float
    mrr: float
    """Mean reciprocal rank, in (0, 1]."""
    n_queries: int
    n_items: int


def tagging_scores(similarity: np.ndarray, borne: np.ndarray, tags: Sequence[str]) -> TaggingScores:
    """Class-balanced ROC-AUC and mAP over tags.

    Ties count half in the ROC-AUC (mid-ranks); average precision takes tied recordings as one threshold.

    Args:
        similarity: [recordings, tags], any monotone score.
        borne: bool [recordings, tags], whether the recording bears the tag.
        tags: names of the columns.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    assert similarity.shape == borne.shape == (len(similarity), len(tags)), (similarity.shape, borne.shape, len(tags))
    similarity = similarity.astype(np.float64)
    per_tag, skipped = [], []
    for column, tag in enumerate(tags):
        truth, scores = borne[:, column], similarity[:, column]
        if truth.all() or not truth.any():
            skipped.append(tag)
            continue
        per_tag.append(
            TagScore(
                tag=tag,
                roc_auc=float(roc_auc_score(truth, scores)),
                average_precision=float(average_precision_score(truth, scores)),
                prevalence=float(truth.mean()),
                n_positives=int(truth.sum()),
            )
        )
    return TaggingScores(
        roc_auc=mean([score.roc_auc for score in per_tag]),
        map=mean([score.average_precision for score in per_tag]),
        prevalence=mean([score.prevalence for score in per_tag]),
        n_tags=len(per_tag),
        n_recordings=len(similarity),
        per_tag=tuple(per_tag),
        skipped=tuple(skipped),
    )


def gold_ranks(scores: np.ndarray, gold: Sequence[int]) -> np.ndarray:
    """Ranks of a query's gold items among all items, best first, ties resolved against the query.

    The j-th best gold item has rank j + the number of other items that score at least as high.

    Args:
        scores: [items], similarity of each item to the query.
        gold: distinct positions in ``scores``, at least one.

    Returns:
        int64 [len(gold)], 1-based, strictly increasing.

    Example:
        >>> gold_ranks(np.array([0.9, 0.5, 0.7, 0.1]), gold=[2, 3]).tolist()
        [2, 4]
    """
    assert 0 < len(set(gold)) == len(gold), "a query needs distinct gold items"
    scores = scores.astype(np.float64)
    is_gold = np.zeros(len(scores), dtype=bool)
    is_gold[list(gold)] = True
    of_gold, of_others = np.sort(scores[is_gold])[::-1], np.sort(scores[~is_gold])
    others_at_least = len(of_others) - np.searchsorted(of_others, of_gold, side="left")
    return np.arange(1, len(of_gold) + 1) + others_at_least


def retrieval_scores(ranks: Sequence[np.ndarray], *, n_items: int) -> RetrievalScores:
    """Summary of the ranks of every query's gold items.

    The average precision at 10 of a query with G gold items is the sum of precisions at the ranks of those gold items
    that are among the first ten, divided by min(G, 10). With one gold item it is 1 / rank, or 0 beyond ten.

    Args:
        ranks: for each query, at least one, the result of :func:`gold_ranks`.
        n_items: size of the collection that was searched.

    Example:
        >>> scores = retrieval_scores([np.array([2, 4]), np.array([1])], n_items=4)
        >>> scores.map10, scores.recall1, scores.median_rank
        (0.75, 0.5, 1.5)
    """
    assert ranks, "no queries"
    best = np.array([of_query[0] for of_query in ranks], dtype=np.float64)
    precisions = [_average_precision_at_cutoff(of_query) for of_query in ranks]
    return RetrievalScores(
        map10=mean(precisions),
        recall1=float((best <= 1).mean()),
        recall5=float((best <= 5).mean()),
        recall10=float((best <= CUTOFF).mean()),
        median_rank=float(np.median(best)),
        mrr=float((1 / best).mean()),
        n_queries=len(ranks),
        n_items=n_items,
    )


def mean(values: Sequence[float]) -> float:
    """NaN, without a warning, where there are none."""
    return float(np.mean(values)) if len(values) else float("nan")


def _average_precision_at_cutoff(ranks: np.ndarray) -> float:
    hits = np.arange(1, len(ranks) + 1)
    found = ranks <= CUTOFF
    return float((hits[found] / ranks[found]).sum() / min(len(ranks), CUTOFF))

"""Tagging and retrieval metrics as pure functions of similarities and labels.

Scores are ranked in float64, since lower precisions create ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CUTOFF = 10
"""Number of hits that ``map10`` and ``recall10`` consider."""


@dataclass(frozen=True)
class TagScore:
    """Scores of one tag: how well its similarities separate recordings with the tag from those without."""

    tag: str
    """Name of the tag."""
    roc_auc: float
    """Area under the ROC curve, in [0, 1]; chance is 0.5."""
    average_precision: float
    """Average precision, in [0, 1]; chance is ``prevalence``."""
    prevalence: float
    """Share of recordings that have the tag."""
    num_positives: int
    """Number of recordings that have the tag."""


@dataclass(frozen=True)
class TaggingScores:
    """Macro averages over tags, with equal weights; NaN if no tag could be scored."""

    roc_auc: float
    """Class-balanced area under the ROC curve (MuLan §4.1.1), in [0, 1]; chance is 0.5."""
    map: float
    """Mean average precision, in [0, 1]; chance is ``prevalence``."""
    prevalence: float
    """Share of recordings that have a tag, averaged over tags."""
    num_tags: int
    """Number of scored tags."""
    num_recordings: int
    """Number of recordings."""
    per_tag: tuple[TagScore, ...]
    """Scores of each tag."""
    skipped: tuple[str, ...]
    """Tags without scores, since all recordings have them, or none."""


@dataclass(frozen=True)
class RetrievalScores:
    """Averages over queries. The rank of a query is the 1-based rank of its best gold item."""

    map10: float
    """Mean average precision at 10, in [0, 1]; see :func:`retrieval_scores`."""
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
    num_queries: int
    """Number of queries."""
    num_items: int
    """Number of items that were searched."""


def tagging_scores(similarity: np.ndarray, labels: np.ndarray, tags: Sequence[str]) -> TaggingScores:
    """Computes class-balanced ROC-AUC and mAP over tags.

    Ties count half in the ROC-AUC (mid-ranks); in the average precision, tied recordings share one threshold.

    Args:
        similarity: [recordings, tags], any monotone score.
        labels: bool [recordings, tags], True if the recording has the tag.
        tags: Names of the columns.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    assert similarity.shape == labels.shape == (len(similarity), len(tags)), (similarity.shape, labels.shape, len(tags))
    similarity = similarity.astype(np.float64)
    per_tag, skipped = [], []
    for column, tag in enumerate(tags):
        truth, scores = labels[:, column], similarity[:, column]
        if truth.all() or not truth.any():
            skipped.append(tag)
            continue
        per_tag.append(
            TagScore(
                tag=tag,
                roc_auc=float(roc_auc_score(truth, scores)),
                average_precision=float(average_precision_score(truth, scores)),
                prevalence=float(truth.mean()),
                num_positives=int(truth.sum()),
            )
        )
    return TaggingScores(
        roc_auc=mean([score.roc_auc for score in per_tag]),
        map=mean([score.average_precision for score in per_tag]),
        prevalence=mean([score.prevalence for score in per_tag]),
        num_tags=len(per_tag),
        num_recordings=len(similarity),
        per_tag=tuple(per_tag),
        skipped=tuple(skipped),
    )


def gold_ranks(scores: np.ndarray, gold: Sequence[int]) -> np.ndarray:
    """Computes the ranks of a query's gold items among all items, best first; ties count against the query.

    The j-th best gold item has rank j + the number of other items that score at least as high.

    Args:
        scores: [items], similarity of each item to the query.
        gold: Distinct indices into ``scores``, at least one.

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
    gold_scores, other_scores = np.sort(scores[is_gold])[::-1], np.sort(scores[~is_gold])
    others_at_least = len(other_scores) - np.searchsorted(other_scores, gold_scores, side="left")
    return np.arange(1, len(gold_scores) + 1) + others_at_least


def retrieval_scores(ranks: Sequence[np.ndarray], *, num_items: int) -> RetrievalScores:
    """Summarises the ranks of all queries' gold items.

    The average precision at 10 of a query with G gold items is the sum of precisions at the ranks of those gold items
    that are among the first ten, divided by min(G, 10). With one gold item it is 1 / rank, or 0 for ranks above 10.

    Args:
        ranks: Results of :func:`gold_ranks` for each query, at least one.
        num_items: Number of items that were searched.

    Example:
        >>> scores = retrieval_scores([np.array([2, 4]), np.array([1])], num_items=4)
        >>> scores.map10, scores.recall1, scores.median_rank
        (0.75, 0.5, 1.5)
    """
    assert ranks, "no queries"
    best = np.array([query_ranks[0] for query_ranks in ranks], dtype=np.float64)
    precisions = [_average_precision_at_cutoff(query_ranks) for query_ranks in ranks]
    return RetrievalScores(
        map10=mean(precisions),
        recall1=float((best <= 1).mean()),
        recall5=float((best <= 5).mean()),
        recall10=float((best <= CUTOFF).mean()),
        median_rank=float(np.median(best)),
        mrr=float((1 / best).mean()),
        num_queries=len(ranks),
        num_items=num_items,
    )


def mean(values: Sequence[float]) -> float:
    """Returns the mean; NaN, without a warning, if there are no values."""
    return float(np.mean(values)) if len(values) else float("nan")


def _average_precision_at_cutoff(ranks: np.ndarray) -> float:
    hits = np.arange(1, len(ranks) + 1)
    within = ranks <= CUTOFF
    return float((hits[within] / ranks[within]).sum() / min(len(ranks), CUTOFF))

"""Tagging metrics as pure functions of similarities and labels.

Scores are ranked in float64, since lower precisions create ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TagScore:
    """Scores of one tag: how well its similarities separate recordings with the tag from those without."""

    tag: str
    """Name of the tag."""
    roc_auc: float
    """Area under the ROC curve, in [0, 1]; chance is 0.5."""
    average_precision: float
    """Average precision, in [0, 1]; of equal similarities it is ``prevalence``, of random ones
    :func:`random_average_precision`."""
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
    """Mean average precision, in [0, 1]; of equal similarities it is ``prevalence``."""
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


def mean(values: Sequence[float]) -> float:
    """Returns the mean; NaN, without a warning, if there are no values."""
    return float(np.mean(values)) if len(values) else float("nan")


def random_average_precision(positives: int, total: int) -> float:
    """Returns the mean average precision of all orders of recordings, some of which are positive.

    It is above the share of positives, which it approaches for many positives: of one among ten it is 0.29.

    Args:
        positives: Number of positive recordings, at least 1.
        total: Number of recordings.

    Example:
        >>> random_average_precision(1, 2)
        0.75
    """
    harmonic = float((1 / np.arange(1, total + 1)).sum())
    # the recording at a rank k is positive with the share of positives, and so are, then, k - 1 others with that of the
    # remaining ones
    share_of_others = (positives - 1) / (total - 1) if total > 1 else 0.0
    return (harmonic + share_of_others * (total - harmonic)) / total

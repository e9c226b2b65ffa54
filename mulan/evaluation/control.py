"""The shuffled-label control: the same evaluation with randomly permuted recordings, which must score at chance.

Scores above chance would show that the evaluation measures something other than the pairing of audio and labels: a
leak, a bias of the protocol, or a bug.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mulan.evaluation.metrics.retrieval import RetrievalScores
from mulan.evaluation.metrics.tagging import TaggingScores, mean
from mulan.evaluation.zero_shot import text_to_music, zero_shot_tagging

PERMUTATIONS = 20
"""Number of random permutations."""


@dataclass(frozen=True)
class Control:
    """Zero-shot tagging and retrieval scores under seeded permutations of the recordings."""

    roc_auc: float
    """Zero-shot ROC-AUC, averaged over categories and permutations; chance is 0.5."""
    min_roc_auc: float
    """Lowest ROC-AUC of a permutation, averaged over categories."""
    max_roc_auc: float
    """Highest ROC-AUC of a permutation, averaged over categories."""
    per_category: dict[str, float]
    """ROC-AUC by category, averaged over permutations."""
    map10: float
    """Mean average precision at 10 of retrieval, averaged over permutations."""
    recall10: float
    """Recall at 10 of retrieval, averaged over permutations."""
    median_rank: float
    """Median rank in retrieval, averaged over permutations."""
    permutations: int
    """Number of permutations."""


def mean_over_categories(scores: Mapping[str, TaggingScores]) -> float:
    """Returns the mean ROC-AUC of the categories with at least one scored tag; NaN if there are none."""
    return mean([category.roc_auc for category in scores.values() if category.num_tags])


def shuffled_control(
    audio: np.ndarray,
    tags: Sequence[Sequence[str]],
    prompts: Mapping[str, Mapping[str, np.ndarray]],
    queries: np.ndarray,
    gold: Sequence[Sequence[int]],
    *,
    seed: int = 0,
) -> Control:
    """Evaluates :data:`PERMUTATIONS` random assignments of the recordings' embeddings to labels and texts.

    Args:
        audio: Unit vectors [recordings, d].
        tags: Tags of each recording.
        prompts: Unit vector [d] by category and tag text.
        queries: Unit vectors [queries, d]; may be empty.
        gold: Indices of each query's recordings.
        seed: Seed of the permutations.
    """
    rng = np.random.default_rng(seed)
    tagging: list[dict[str, TaggingScores]] = []
    retrieval: list[RetrievalScores] = []
    for _ in range(PERMUTATIONS):
        shuffled = audio[rng.permutation(len(audio))]
        tagging.append(zero_shot_tagging(shuffled, tags, prompts))
        if len(queries):
            retrieval.append(text_to_music(queries, shuffled, gold))
    overall = np.array([mean_over_categories(scores) for scores in tagging])
    return Control(
        roc_auc=float(overall.mean()),
        min_roc_auc=float(overall.min()),
        max_roc_auc=float(overall.max()),
        per_category={category: mean([scores[category].roc_auc for scores in tagging]) for category in prompts},
        map10=mean([scores.map10 for scores in retrieval]),
        recall10=mean([scores.recall10 for scores in retrieval]),
        median_rank=mean([scores.median_rank for scores in retrieval]),
        permutations=PERMUTATIONS,
    )

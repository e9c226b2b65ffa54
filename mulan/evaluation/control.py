"""The control that must fail: the same evaluation with the pairing of audio and labels shuffled.

An evaluation that finds skill here measures something other than the pairing: a leak, a bias of the protocol, a defect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mulan.evaluation.metrics import RetrievalScores, TaggingScores, mean
from mulan.evaluation.zero_shot import text_to_music, zero_shot_tagging

PERMUTATIONS = 20


@dataclass(frozen=True)
class Control:
    """Zero-shot ROC-AUC and retrieval under seeded permutations of the recordings; chance is 0.5 for the first."""

    roc_auc: float
    """Mean over permutations of the mean over categories."""
    lowest: float
    """Of all permutations; so too ``highest``."""
    highest: float
    per_category: dict[str, float]
    map10: float
    recall10: float
    median_rank: float
    permutations: int


def mean_over_categories(scores: Mapping[str, TaggingScores]) -> float:
    """Mean ROC-AUC of the categories with a tag that could be scored; NaN where there are none."""
    return mean([category.roc_auc for category in scores.values() if category.n_tags])


def shuffled_control(
    audio: np.ndarray,
    tags: Sequence[Sequence[str]],
    prompts: Mapping[str, Mapping[str, np.ndarray]],
    queries: np.ndarray,
    gold: Sequence[Sequence[int]],
    *,
    seed: int = 0,
) -> Control:
    """Evaluates :data:`PERMUTATIONS` times with each recording under another recording's labels and texts.

    Args:
        audio: unit vectors [recordings, d].
        tags: each recording's tags.
        prompts: category to tag text to unit vector [d].
        queries: unit vectors [queries, d]; may be empty.
        gold: for each query, the positions of its recordings.
        seed: of the permutations.
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
        lowest=float(overall.min()),
        highest=float(overall.max()),
        per_category={category: mean([scores[category].roc_auc for scores in tagging]) for category in prompts},
        map10=mean([scores.map10 for scores in retrieval]),
        recall10=mean([scores.recall10 for scores in retrieval]),
        median_rank=mean([scores.median_rank for scores in retrieval]),
        permutations=PERMUTATIONS,
    )

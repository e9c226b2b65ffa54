"""Scores of tags as a table with intervals, and the averages over the tags with their draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mulan.evaluation.metrics.resampling import Resampling, bounds_of
from mulan.evaluation.metrics.tagging import TaggingScores, mean, random_average_precision, tagging_scores
from mulan.evaluation.protocols.negations import negation_pairs

WORST = 10
"""Maximum number of tags that are named as the worst."""


@dataclass(frozen=True, eq=False)
class TagTable:
    """Scores of each tag that could be scored."""

    tagging: TaggingScores
    """Averages over tags, and scores of each."""
    roc_auc_draws: np.ndarray
    """Draws of the ROC-AUC of each scored tag, float64 [replicates, scored tags]."""
    average_precision_draws: np.ndarray
    """Draws of the average precision of each scored tag, float64 [replicates, scored tags]."""

    @classmethod
    def of(cls, similarity: np.ndarray, labels: np.ndarray, tags: Sequence[str], resampling: Resampling) -> "TagTable":
        """Scores tags.

        Args:
            similarity: [recordings, tags], any monotone score.
            labels: bool [recordings, tags], True if the recording has the tag.
            tags: Distinct names of the columns.
            resampling: Draws of the recordings; without replicates no intervals are computed.
        """
        tagging = tagging_scores(similarity, labels, tags)
        columns = [column for column, tag in enumerate(tags) if tag not in tagging.skipped]
        aucs = precisions = np.zeros((0, len(columns)))
        if columns and resampling.replicates:
            aucs, precisions = resampling.tagging(similarity[:, columns], labels[:, columns])
        return cls(tagging, aucs, precisions)

    @property
    def scores(self) -> dict[str, float]:
        """Averages over the scored tags with equal weights."""
        return {"roc_auc": self.tagging.roc_auc, "map": self.tagging.map, "prevalence": self.tagging.prevalence}

    @property
    def chance(self) -> dict[str, float]:
        """Scores of random orders, averaged over the scored tags."""
        total = self.tagging.num_recordings
        of_tags = [random_average_precision(score.num_positives, total) for score in self.tagging.per_tag]
        return {"roc_auc": 0.5, "map": mean(of_tags)}

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """Draws of the averages, float64 [replicates]; tags that a draw leaves undefined are not averaged there."""
        if not len(self.roc_auc_draws):
            return {}
        return {"roc_auc": _row_means(self.roc_auc_draws), "map": _row_means(self.average_precision_draws)}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The scores of each tag with 95 % intervals ``[low, high]``, None without draws, as values of JSON."""
        return [
            {
                "tag": score.tag,
                "roc_auc": score.roc_auc,
                "roc_auc_interval": bounds_of(self.roc_auc_draws[:, column], score.roc_auc),
                "average_precision": score.average_precision,
                "average_precision_interval": bounds_of(
                    self.average_precision_draws[:, column], score.average_precision
                ),
                "positives": score.num_positives,
                "prevalence": score.prevalence,
            }
            for column, score in enumerate(self.tagging.per_tag)
        ]

    @property
    def worst(self) -> list[str]:
        """The tags with the lowest ROC-AUC, beginning with the lowest: at most half of all."""
        ascending = sorted(self.tagging.per_tag, key=lambda score: (score.roc_auc, score.tag))
        return [score.tag for score in ascending[: min(WORST, len(ascending) // 2)]]

    def negations(self, tags: Sequence[str], prompts: np.ndarray) -> list[dict[str, Any]]:
        """Returns the pairs of a tag and its negation as values of JSON (MuLan §4.2.1).

        A pair whose prompts have a cosine close to 1 is one that the model cannot tell apart: what makes one of the two
        tags right makes the other wrong.

        Args:
            tags: All tags, also those without scores.
            prompts: Unit vector of each of them, [tags, d].
        """
        roc_auc = {score.tag: score.roc_auc for score in self.tagging.per_tag}
        column = {tag: number for number, tag in enumerate(tags)}
        return [
            {
                "tag": pair.tag,
                "negation": pair.negation,
                "roc_auc": roc_auc.get(pair.tag),
                "negation_roc_auc": roc_auc.get(pair.negation),
                "cosine": float(prompts[column[pair.tag]] @ prompts[column[pair.negation]]),
            }
            for pair in negation_pairs(tags)
        ]


def _row_means(draws: np.ndarray) -> np.ndarray:
    """Returns the mean of the defined values of each row, without a warning for rows that have none."""
    defined = ~np.isnan(draws)
    with np.errstate(invalid="ignore"):
        return np.where(defined, draws, 0).sum(axis=1) / defined.sum(axis=1)

"""The distribution of scores over resampled recordings (bootstrap, Efron and Tibshirani 1993), for intervals.

Recordings of one artist are drawn together where artists are known, since they are no independent examples. Models are
compared on the same draws, so that the interval of a difference is that of paired recordings.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

REPLICATES = 1000
"""Default number of draws."""
_NUMBERS_AT_ONCE = 8_000_000
"""Maximum number of multiplicities that are held at a time."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a score, which contains the score; NaN if it is undefined in every draw."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


def interval_of(replicates: np.ndarray, score: float) -> Interval:
    """Returns the 95 % interval of a score: the percentiles of its draws, without their bias.

    Draws contain recordings twice, so that average precisions of rare tags are higher in most draws than in the
    recordings themselves. The percentiles are therefore shifted by the difference of the score and the draws' mean, and
    the ends are the drawn scores that are closest to that, so that they remain values that the score can have.

    Args:
        replicates: Scores of the draws, float [replicates]; undefined ones (NaN) are left out.
        score: The score of the recordings themselves.
    """
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        return Interval(float("nan"), float("nan"))
    low, high = (
        float(defined[np.abs(defined - end).argmin()])
        for end in np.percentile(defined, [2.5, 97.5]) - defined.mean() + score
    )
    return Interval(min(low, score), max(high, score))


def bounds_of(replicates: np.ndarray, score: float) -> list[float] | None:
    """Returns the 95 % interval of a score as a value of JSON, ``[low, high]``; None if it is undefined."""
    interval = interval_of(replicates, score)
    return None if math.isnan(interval.low) else [interval.low, interval.high]


class Resampling:
    """Draws of recordings with replacement, the same for every score and every model."""

    def __init__(self, groups: Sequence[str] | int, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        """
        Args:
            groups: Group of each recording, such as its artist, of which all recordings are drawn together; empty for a
                recording that is a group by itself. Or the number of recordings, each a group by itself.
            replicates: Number of draws; may be 0. There are none of a single group, since all would be the same: an
                interval without width would claim certainty.
            seed: Seed of the draws.
        """
        names = [""] * groups if isinstance(groups, int) else groups
        # an unknown group gets a name that no other one has
        keys = [("group", name) if name else ("recording", row) for row, name in enumerate(names)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self._group = np.array([numbers[key] for key in keys], np.int64)
        self._num_groups, self._seed = len(numbers), seed
        self.replicates = replicates if self._num_groups > 1 else 0

    @property
    def num_groups(self) -> int:
        """Number of groups, which are drawn independently."""
        return self._num_groups

    def multiplicities(self) -> Iterator[np.ndarray]:
        """Yields how often each recording was drawn, float32 [some replicates, recordings], for all replicates."""
        rng = np.random.default_rng(self._seed)
        at_once = max(1, _NUMBERS_AT_ONCE // max(1, len(self._group)))
        for start in range(0, self.replicates, at_once):
            counts = [
                np.bincount(rng.integers(self._num_groups, size=self._num_groups), minlength=self._num_groups)
                for _ in range(min(at_once, self.replicates - start))
            ]
            yield np.array(counts, np.float32)[:, self._group]

    def means(self, values: np.ndarray) -> np.ndarray:
        """Returns the draws of the mean of a value of each recording; NaN without recordings.

        Args:
            values: [recordings], or [recordings, n] for n values of each; NaN for recordings without a value.

        Returns:
            float64 [replicates] or [replicates, n].
        """
        defined = ~np.isnan(values)
        filled = np.where(defined, values, 0).astype(np.float64)
        parts = [np.zeros((0, *values.shape[1:]))]
        for drawn in self.multiplicities():
            count = drawn.astype(np.float64) @ defined
            with np.errstate(invalid="ignore"):
                parts.append((drawn.astype(np.float64) @ filled) / count)
        return np.concatenate(parts)

    def medians(self, values: np.ndarray) -> np.ndarray:
        """Returns the draws of the median of a value of each recording, float64 [replicates].

        Args:
            values: [recordings], at least one.
        """
        rows = np.argsort(values, kind="stable")
        ascending = values[rows].astype(np.float64)
        parts = [np.zeros(0)]
        for drawn in self.multiplicities():
            ends = np.cumsum(drawn[:, rows].astype(np.int64), axis=1)
            count = ends[:, -1:]
            # the two in the middle, which are the same one if the number is odd
            lower, upper = ((ends <= middle).sum(axis=1) for middle in ((count - 1) // 2, count // 2))
            parts.append((ascending[lower] + ascending[upper]) / 2)
        return np.concatenate(parts)

    def tagging(self, scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the draws of the ROC-AUC and the average precision of each tag, both float64 [replicates, tags].

        They are NaN for draws in which all recordings have the tag, or none. Ties count as in
        :func:`mulan.evaluation.metrics.tagging.tagging_scores`.

        Args:
            scores: [recordings, tags], any monotone score.
            truth: bool [recordings, tags], True if the recording has the tag.
        """
        orders = [_Order.of(scores[:, tag], truth[:, tag]) for tag in range(scores.shape[1])]
        aucs, precisions = [np.zeros((0, len(orders)))], [np.zeros((0, len(orders)))]
        for drawn in self.multiplicities():
            of_tags = [order.scores_of(drawn) for order in orders]
            aucs.append(np.stack([roc_auc for roc_auc, _ in of_tags], axis=1))
            precisions.append(np.stack([precision for _, precision in of_tags], axis=1))
        return np.concatenate(aucs), np.concatenate(precisions)


@dataclass(frozen=True)
class _Order:
    """The recordings by descending score of one tag, and where scores change."""

    rows: np.ndarray
    """Rows of the recordings by descending score, int64 [recordings]."""
    truth: np.ndarray
    """Whether each of them has the tag, bool [recordings]."""
    ends: np.ndarray
    """Position of the last recording of each distinct score among them, int64 [distinct scores]."""

    @classmethod
    def of(cls, scores: np.ndarray, truth: np.ndarray) -> "_Order":
        rows = np.argsort(-scores.astype(np.float64), kind="stable")
        falling = scores[rows]
        return cls(rows, truth[rows], np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(rows) - 1))

    def scores_of(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns ROC-AUC and average precision of each draw.

        Args:
            drawn: Multiplicity of each recording, [replicates, recordings].
        """
        weights = drawn[:, self.rows]
        # exact, since the sums are integers below 2**24
        selected = np.cumsum(weights, axis=1)[:, self.ends].astype(np.float64)
        hits = np.cumsum(weights * self.truth, axis=1)[:, self.ends].astype(np.float64)
        gained = np.diff(hits, axis=1, prepend=0)
        wrong = np.diff(selected - hits, axis=1, prepend=0)
        positives, negatives = hits[:, -1], (selected - hits)[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(selected > 0, hits / selected, 0)
            roc_auc = (wrong * (hits - gained / 2)).sum(axis=1) / (positives * negatives)
            average_precision = (gained * precision).sum(axis=1) / positives
        undefined = (positives == 0) | (negatives == 0)
        roc_auc[undefined] = average_precision[undefined] = np.nan
        return roc_auc, average_precision

"""What a probe is trained on, and what it predicts.

Every choice, such as the strength of the regularisation or the epoch to stop at, is made by the quality on the
validation split. The test split is seen only by :attr:`FittedProbe.predict`, and without its labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mulan.evaluation.metrics.classification import accuracy
from mulan.evaluation.metrics.regression import r2_scores
from mulan.evaluation.metrics.retrieval import gold_positions
from mulan.evaluation.recordings import EmbeddedRecordings

TargetKind = Literal["tags", "class", "numbers"]
"""Any number of tags, exactly one class, or numbers."""

Quality = Callable[[np.ndarray, np.ndarray], float]
"""A function of the truth and predictions of the validation split; the larger the better."""


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Recordings with the vectors of their windows, and what a probe predicts of them."""

    audio: EmbeddedRecordings
    """The recordings."""
    truth: np.ndarray
    """What is predicted: bool [recordings, tags], number of the class, int64 [recordings], or float64 [recordings,
    targets]."""


@dataclass(frozen=True, eq=False)
class ProbeData:
    """What a probe is trained on."""

    kind: TargetKind
    """What is predicted."""
    outputs: int
    """Number of tags, classes or targets."""
    train: LabelledVectors
    """The recordings to train on."""
    validation: LabelledVectors
    """The recordings by which everything is chosen."""
    quality: Quality
    """What is to be large on the validation split."""
    seed: int
    """Seed of everything that is drawn."""

    def quality_of(self, predicted: np.ndarray) -> float:
        """Returns the quality of predictions for the validation split; the lowest one if it is undefined."""
        quality = self.quality(self.validation.truth, predicted)
        return float("-inf") if np.isnan(quality) else quality


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A trained probe: one or several runs with other random numbers, of which scores are averaged."""

    predict: Callable[[EmbeddedRecordings], np.ndarray]
    """Predicts recordings, as float64 [runs, recordings, outputs]: a score of each tag, a score of each class, or the
    numbers."""
    chosen: Mapping[str, Any]
    """What was chosen on the validation split, as values of JSON."""


@dataclass(frozen=True, eq=False)
class ProbeTraining:
    """What is trained to predict: a probe's head on frozen vectors, or a whole network."""

    name: str
    """Name, as reports state it."""
    sentence: str
    """What is trained, and how, to begin a description of the protocol."""
    fit: Callable[[ProbeData], FittedProbe]
    """Trains it."""


def mean_roc_auc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the ROC-AUC, averaged over the tags that some recordings have and others lack; NaN without such tags.

    Args:
        truth: bool [recordings, tags].
        predicted: Scores [recordings, tags].
    """
    scored = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)).tolist()
    aucs = [gold_positions(predicted[:, tag], np.flatnonzero(truth[:, tag]).tolist()).roc_auc for tag in scored]
    return float(np.mean(aucs)) if aucs else float("nan")


def accuracy_of_best(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the share of recordings whose class has the highest score.

    Args:
        truth: Number of the class, int64 [recordings].
        predicted: Scores [recordings, classes].
    """
    return accuracy(truth, predicted.argmax(axis=1))


def mean_r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns R², averaged over targets; NaN if one does not vary.

    Args:
        truth: float [recordings, targets].
        predicted: float [recordings, targets].
    """
    return float(r2_scores(truth, predicted)[0].mean())

"""Accuracy and macro F1 of predicted classes, the latter also on resampled recordings."""

import numpy as np

from mulan.evaluation.metrics.resampling import Resampling


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the share of recordings with the right class; NaN without recordings.

    Its draws are those of a mean, ``Resampling.means(truth == predicted)``.

    Args:
        truth: Number of the class, int [recordings].
        predicted: Number of the predicted class, int [recordings].
    """
    return float((truth == predicted).mean()) if len(truth) else float("nan")


def macro_f1(
    truth: np.ndarray, predicted: np.ndarray, *, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Computes the mean over classes of the F1 score, 2 * hits / (recordings of the class + predictions of it).

    The mean is over the classes that a recording has: one of the test split without a recording, such as
    ``synth_lead`` in NSynth, would count as 0.

    Args:
        truth: Number of the class, below ``classes``, int [recordings].
        predicted: Number of the predicted class, below ``classes``, int [recordings].
        classes: Number of classes.
        weights: Weights of the recordings, [replicates, recordings], one replicate after another; ones if None.

    Returns:
        float64 [replicates]; one replicate if ``weights`` is None.
    """
    weights = np.ones((1, len(truth))) if weights is None else weights.astype(np.float64)
    of_class, guessed = np.eye(classes)[truth], np.eye(classes)[predicted]
    hits, positives, guesses = weights @ (of_class * guessed), weights @ of_class, weights @ guessed
    present = positives > 0
    f1 = np.where(present, 2 * hits / np.maximum(positives + guesses, 1e-300), 0)
    with np.errstate(invalid="ignore"):
        return f1.sum(axis=1) / present.sum(axis=1)


def macro_f1_draws(truth: np.ndarray, predicted: np.ndarray, *, classes: int, resampling: Resampling) -> np.ndarray:
    """Returns the draws of :func:`macro_f1` on resampled recordings, float64 [replicates]."""
    parts = [macro_f1(truth, predicted, classes=classes, weights=drawn) for drawn in resampling.multiplicities()]
    return np.concatenate([np.zeros(0), *parts])

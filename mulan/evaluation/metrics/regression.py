"""The coefficient of determination R² of predicted numbers, also on resampled recordings."""

import numpy as np

from mulan.evaluation.metrics.resampling import Resampling


def r2_scores(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Computes 1 - the sum of squared errors / the sum of squared deviations from the mean, of each target.

    It is 1 for perfect predictions, 0 for the mean of the truth, and negative for worse ones. It is that of
    scikit-learn's ``r2_score``, except for a target without variation: it is NaN here, since it is undefined.

    Args:
        truth: float [recordings, targets].
        predicted: float [recordings, targets].
        weights: Weights of the recordings, [replicates, recordings], one replicate after another; ones if None.

    Returns:
        float64 [replicates, targets]; one replicate if ``weights`` is None.
    """
    truth, predicted = truth.astype(np.float64), predicted.astype(np.float64)
    weights = np.ones((1, len(truth))) if weights is None else weights.astype(np.float64)
    centred = truth - truth.mean(axis=0)  # large means would cancel in the sums of squares
    sums, total = weights @ centred, weights.sum(axis=1, keepdims=True)
    errors = weights @ (truth - predicted) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = weights @ centred**2 - sums**2 / total
        r2 = 1 - errors / deviations
    # rounding leaves a little of the deviation of draws that repeat one value
    constant = ~(deviations > 1e-12 * (weights @ centred**2))
    return np.where(constant, np.nan, r2)


def r2_draws(truth: np.ndarray, predicted: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Returns the draws of :func:`r2_scores` on resampled recordings, float64 [replicates, targets]."""
    parts = [r2_scores(truth, predicted, drawn) for drawn in resampling.multiplicities()]
    return np.concatenate([np.zeros((0, truth.shape[1])), *parts])

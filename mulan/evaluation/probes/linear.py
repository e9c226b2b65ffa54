"""Linear probes on the standardised vectors of recordings: logistic and ridge regression.

They are fitted with several strengths of the regularisation, from strong to weak; the one with the highest quality on
the validation split is kept, of equal ones the strongest.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from mulan.evaluation.metrics.retrieval import rounded
from mulan.evaluation.probes.probe import FittedProbe, ProbeData
from mulan.evaluation.recordings import EmbeddedRecordings

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of C in logistic regression, which multiplies the sum of the recordings' losses."""
PENALTIES = (1e4, 1e3, 1e2, 1e1, 1.0)
"""Values of alpha in ridge regression, which multiplies the sum of the squared weights."""
MAX_ITERATIONS = 1000
"""Maximum number of iterations of L-BFGS; a few hundred suffice for C = 1."""


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A linear map of standardised vectors."""

    weight: np.ndarray
    """float64 [outputs, d]."""
    bias: np.ndarray
    """float64 [outputs]; minus infinity for classes that no recording of the training split has."""

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Returns float64 [recordings, outputs].

        Args:
            vectors: Standardised vectors of the recordings, float64 [recordings, d]. Equal ones get equal outputs.
        """
        return rounded(vectors @ self.weight.T + self.bias)


def fit_logistic(data: ProbeData) -> FittedProbe:
    """Fits an independent logistic regression for each tag (MuLan §4.1.2), or a multinomial one for classes.

    All tags share one strength of the regularisation.

    Args:
        data: Tags or classes. Each tag must have recordings with and without it in the training split, and at least
            two classes must have recordings in it.
    """
    return _fit(data, "C", _logistic_tags if data.kind == "tags" else _logistic_classes)


def fit_ridge(data: ProbeData) -> FittedProbe:
    """Fits a ridge regression for each target, all with one strength of the regularisation.

    Args:
        data: Numbers.
    """
    return _fit(data, "alpha", _ridge)


_Fit = Callable[[np.ndarray, np.ndarray, int], Iterator[tuple[float, LinearLayer]]]
"""Yields layers by strength of the regularisation, given vectors, truth and the number of outputs."""


def _fit(data: ProbeData, setting: str, fit: _Fit) -> FittedProbe:
    scaler = StandardScaler().fit(data.train.audio.means.astype(np.float64))

    def standardised(audio: EmbeddedRecordings) -> np.ndarray:
        return scaler.transform(audio.means.astype(np.float64))

    held_out = standardised(data.validation.audio)
    layers, qualities = {}, {}
    for strength, layer in fit(standardised(data.train.audio), data.train.truth, data.outputs):
        layers[strength], qualities[strength] = layer, data.quality_of(layer(held_out))
    best = max(qualities, key=qualities.__getitem__)  # of equal ones the first
    chosen = {setting: best, "validation_quality": _finite(qualities[best]), "candidates": _by_text(qualities)}
    return FittedProbe(lambda audio: layers[best](standardised(audio))[None], chosen)


def _logistic_tags(vectors: np.ndarray, truth: np.ndarray, tags: int) -> Iterator[tuple[float, LinearLayer]]:
    # each strength starts at the solution of the last one, which halves the number of iterations
    models = [LogisticRegression(warm_start=True, max_iter=MAX_ITERATIONS) for _ in range(tags)]
    for strength in INVERSE_PENALTIES:
        for tag, model in enumerate(models):
            model.set_params(C=strength).fit(vectors, truth[:, tag])
        weight, bias = (np.concatenate([getattr(model, name) for model in models]) for name in ("coef_", "intercept_"))
        yield strength, LinearLayer(weight, bias)


def _logistic_classes(vectors: np.ndarray, truth: np.ndarray, classes: int) -> Iterator[tuple[float, LinearLayer]]:
    model = LogisticRegression(warm_start=True, max_iter=MAX_ITERATIONS)
    for strength in INVERSE_PENALTIES:
        model.set_params(C=strength).fit(vectors, truth)
        weight, bias = np.zeros((classes, vectors.shape[1])), np.full(classes, float("-inf"))
        if len(model.classes_) == 2:  # scikit-learn keeps one row, the score of the second class
            first, second = model.classes_
            bias[first], bias[second], weight[second] = 0, model.intercept_[0], model.coef_[0]
        else:
            weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
        yield strength, LinearLayer(weight, bias)


def _ridge(vectors: np.ndarray, truth: np.ndarray, targets: int) -> Iterator[tuple[float, LinearLayer]]:
    for strength in PENALTIES:
        model = Ridge(alpha=strength, solver="cholesky").fit(vectors, truth.reshape(-1, targets))
        yield strength, LinearLayer(model.coef_.reshape(targets, -1), model.intercept_)  # [d] of a single target


def _by_text(qualities: Mapping[float, float]) -> dict[str, float | None]:
    return {f"{strength:g}": _finite(quality) for strength, quality in qualities.items()}


def _finite(quality: float) -> float | None:
    return quality if np.isfinite(quality) else None

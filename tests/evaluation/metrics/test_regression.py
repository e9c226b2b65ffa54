import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torchmetrics.functional import r2_score as r2_score_of_torchmetrics

from mulan.evaluation.metrics.regression import r2_draws, r2_scores
from mulan.evaluation.metrics.resampling import Resampling


def test_r2_is_that_of_scikit_learn_with_and_without_weights() -> None:
    rng = np.random.default_rng(0)
    truth = np.round(rng.normal(size=(50, 3)), 1) + np.array([0, 5, 1e4])
    predicted, weights = truth + rng.normal(size=(50, 3)), rng.integers(0, 4, size=(6, 50))
    assert r2_scores(truth, predicted)[0] == pytest.approx(
        r2_score(truth, predicted, multioutput="raw_values"), abs=1e-9
    )
    of_torchmetrics = r2_score_of_torchmetrics(
        torch.from_numpy(predicted), torch.from_numpy(truth), multioutput="raw_values"
    )
    # torchmetrics subtracts the square of the mean, which loses digits for the target around 10,000
    assert r2_scores(truth, predicted)[0] == pytest.approx(of_torchmetrics.tolist(), abs=1e-6)
    assert r2_scores(truth, predicted)[0, :2] == pytest.approx(of_torchmetrics[:2].tolist(), abs=1e-9)
    for replicate, each in enumerate(r2_scores(truth, predicted, weights)):
        expected = r2_score(truth, predicted, sample_weight=weights[replicate], multioutput="raw_values")
        assert each == pytest.approx(expected, abs=1e-9)


def test_r2_of_perfect_predictions_is_1_and_of_the_mean_0() -> None:
    truth = np.array([[1.0, 2.0], [3.0, 2.5], [8.0, 9.0]])
    assert r2_scores(truth, truth).tolist() == [[1.0, 1.0]]
    assert r2_scores(truth, np.repeat(truth.mean(axis=0)[None], 3, axis=0))[0] == pytest.approx([0, 0], abs=1e-12)


def test_r2_of_a_target_without_variation_is_undefined() -> None:
    truth = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = r2_scores(truth, truth + 1, np.array([[1, 1, 1], [0, 7, 0]]))
    assert np.isnan(scores).tolist() == [[True, False], [True, True]]


def test_draws_of_r2_are_those_of_the_repeated_recordings() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20, 2))
    predicted, resampling = truth + rng.normal(size=(20, 2)), Resampling(20, replicates=30, seed=2)
    drawn = np.concatenate(list(resampling.multiplicities())).astype(int)
    for each, counts in zip(r2_draws(truth, predicted, resampling), drawn, strict=True):
        rows = np.repeat(np.arange(20), counts)
        assert each == pytest.approx(r2_score(truth[rows], predicted[rows], multioutput="raw_values"), abs=1e-9)
    assert r2_draws(truth, predicted, Resampling(20, replicates=0)).shape == (0, 2)

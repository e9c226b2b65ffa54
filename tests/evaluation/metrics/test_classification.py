import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from mulan.evaluation.metrics.classification import accuracy, macro_f1, macro_f1_draws
from mulan.evaluation.metrics.resampling import Resampling

CLASSES = 6


def guesses(seed: int, recordings: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """No recording has class 4, which is predicted, and none has class 5, which is not."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, size=recordings)
    return truth, np.where(rng.random(recordings) < 0.5, truth, rng.integers(0, 5, size=recordings))


def test_scores_are_those_of_scikit_learn_and_torchmetrics() -> None:
    truth, predicted = guesses(0)
    labels, guessed = torch.from_numpy(truth), torch.from_numpy(predicted)
    present = sorted(set(truth.tolist()))
    assert len(present) == 4
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted), abs=1e-9)
    micro = multiclass_accuracy(guessed, labels, num_classes=CLASSES, average="micro")
    assert accuracy(truth, predicted) == pytest.approx(micro.item(), abs=1e-6)  # torchmetrics computes in float32
    f1 = macro_f1(truth, predicted, classes=CLASSES)
    assert f1 == pytest.approx(f1_score(truth, predicted, labels=present, average="macro"), abs=1e-9)
    of_each = multiclass_f1_score(guessed, labels, num_classes=CLASSES, average="none")
    assert f1 == pytest.approx(of_each[present].mean().item(), abs=1e-6)


def test_the_f1_of_a_draw_is_that_of_the_repeated_recordings() -> None:
    truth, predicted = guesses(1, recordings=12)
    resampling = Resampling(12, replicates=50, seed=3)
    drawn = np.concatenate(list(resampling.multiplicities())).astype(int)
    draws = macro_f1_draws(truth, predicted, classes=CLASSES, resampling=resampling)
    present_in_all = set()
    for each, counts in zip(draws, drawn, strict=True):
        rows = np.repeat(np.arange(12), counts)
        present = sorted(set(truth[rows].tolist()))
        present_in_all.add(len(present))
        assert each == pytest.approx(f1_score(truth[rows], predicted[rows], labels=present, average="macro"), abs=1e-9)
    assert len(present_in_all) > 1  # some draws lack a class
    none = macro_f1_draws(truth, predicted, classes=CLASSES, resampling=Resampling(12, replicates=0))
    assert none.shape == (0,)


def test_without_recordings_scores_are_undefined_without_a_warning() -> None:
    none = np.zeros(0, np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(accuracy(none, none))
        assert np.isnan(macro_f1(none, none, classes=2)).all()

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score
from torchmetrics.functional.classification import multilabel_auroc

from mulan.evaluation.probes.probe import LabelledVectors, ProbeData, accuracy_of_best, mean_r2, mean_roc_auc
from tests.evaluation.probes.planted import embedded


def test_the_roc_auc_of_tags_is_that_of_scikit_learn_and_torchmetrics_with_ties_and_empty_classes() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 6, size=(80, 7)) / 5, rng.random((80, 7)) < 0.3
    truth[:, 2], truth[:, 5] = False, True
    scored = [0, 1, 3, 4, 6]
    expected = np.mean([roc_auc_score(truth[:, tag], scores[:, tag]) for tag in scored])
    assert mean_roc_auc(truth, scores) == pytest.approx(expected, abs=1e-9)
    labels, similarity = torch.from_numpy(truth[:, scored]).long(), torch.from_numpy(scores[:, scored])
    # torchmetrics computes in float32
    assert mean_roc_auc(truth, scores) == pytest.approx(multilabel_auroc(similarity, labels, 5).item(), abs=1e-6)


def test_a_quality_without_anything_to_score_is_the_lowest_without_a_warning() -> None:
    nothing = LabelledVectors(embedded(np.zeros((2, 1))), np.array([[True], [True]]))
    data = ProbeData("tags", 1, nothing, nothing, mean_roc_auc, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.quality_of(np.array([[0.1], [0.2]])) == float("-inf")


def test_qualities_of_classes_and_numbers() -> None:
    rng = np.random.default_rng(1)
    truth, numbers = np.array([0, 1, 2, 1]), rng.normal(size=(4, 2))
    assert accuracy_of_best(truth, np.eye(3)[[0, 1, 1, 2]]) == 0.5
    predicted = numbers + rng.normal(size=(4, 2))
    assert mean_r2(numbers, predicted) == pytest.approx(r2_score(numbers, predicted), abs=1e-9)

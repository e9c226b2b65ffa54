import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

from mulan.evaluation.metrics.tagging import random_average_precision, tagging_scores


def naive_roc_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order, a tie being half of one."""
    pairs = list(itertools.product(scores[truth], scores[~truth]))
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def naive_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Sum over thresholds of precision times the recall gained; for scores without ties a plain list of hits."""
    hits, total = 0, 0.0
    for rank, item in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i]), 1):
        if truth[item]:
            hits += 1
            total += hits / rank
    return total / hits


def test_tagging_scores_are_the_means_of_naive_scores_a_tag() -> None:
    rng = np.random.default_rng(1)
    similarity, borne = rng.normal(size=(40, 5)), rng.random((40, 5)) < 0.3
    scores = tagging_scores(similarity, borne, list("abcde"))
    aucs = [naive_roc_auc(similarity[:, tag], borne[:, tag]) for tag in range(5)]
    precisions = [naive_average_precision(similarity[:, tag], borne[:, tag]) for tag in range(5)]
    assert [score.roc_auc for score in scores.per_tag] == pytest.approx(aucs, abs=1e-12)
    assert [score.average_precision for score in scores.per_tag] == pytest.approx(precisions, abs=1e-12)
    assert scores.roc_auc == pytest.approx(np.mean(aucs), abs=1e-12)
    assert scores.map == pytest.approx(np.mean(precisions), abs=1e-12)
    assert scores.prevalence == pytest.approx(borne.mean(), abs=1e-12)
    assert (scores.num_tags, scores.num_recordings, scores.skipped) == (5, 40, ())


def precision_by_thresholds(scores: np.ndarray, truth: np.ndarray) -> float:
    """Sum over distinct thresholds, descending, of the precision times the recall gained."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= threshold
        gained = truth[found].sum() / truth.sum() - recall
        total, recall = total + gained * truth[found].mean(), recall + gained
    return total


@pytest.mark.parametrize("seed", range(5))
def test_scores_with_ties_and_empty_tags_are_those_of_loops_and_of_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, 8, size=(50, 7)) / 8  # exact in float32, which torchmetrics computes in
    borne = rng.random((50, 7)) < 0.2
    borne[:, 2], borne[:, 4] = False, True
    scores = tagging_scores(similarity, borne, list("abcdefg"))
    assert scores.skipped == ("c", "e")
    scored = [0, 1, 3, 5, 6]
    aucs = [naive_roc_auc(similarity[:, tag], borne[:, tag]) for tag in scored]
    precisions = [precision_by_thresholds(similarity[:, tag], borne[:, tag]) for tag in scored]
    assert [score.roc_auc for score in scores.per_tag] == pytest.approx(aucs, abs=1e-9)
    assert [score.average_precision for score in scores.per_tag] == pytest.approx(precisions, abs=1e-9)
    assert (scores.roc_auc, scores.map) == pytest.approx((np.mean(aucs), np.mean(precisions)), abs=1e-9)
    predicted, truth = torch.from_numpy(similarity[:, scored]).float(), torch.from_numpy(borne[:, scored]).long()
    of_torchmetrics = multilabel_auroc(predicted, truth, num_labels=5, average=None)
    assert aucs == pytest.approx(of_torchmetrics.tolist(), abs=1e-6)
    of_torchmetrics = multilabel_average_precision(predicted, truth, num_labels=5, average=None)
    assert precisions == pytest.approx(of_torchmetrics.tolist(), abs=1e-6)


def test_tied_scores_count_half_in_the_roc_auc() -> None:
    similarity = np.array([[1.0], [1.0], [0.0], [1.0]])
    borne = np.array([[True], [False], [False], [True]])
    assert tagging_scores(similarity, borne, ["t"]).roc_auc == naive_roc_auc(similarity[:, 0], borne[:, 0]) == 0.75


def test_tags_of_all_recordings_or_of_none_are_skipped_and_named() -> None:
    similarity = np.array([[0.1, 0.9, 0.5], [0.2, 0.8, 0.4], [0.3, 0.7, 0.6]])
    borne = np.array([[True, False, False], [True, False, False], [True, False, True]])
    scores = tagging_scores(similarity, borne, ["all", "none", "some"])
    assert scores.skipped == ("all", "none")
    assert [score.tag for score in scores.per_tag] == ["some"]
    assert (scores.num_tags, scores.roc_auc, scores.map) == (1, 1.0, 1.0)


def test_without_a_tag_to_score_the_means_are_undefined_rather_than_zero() -> None:
    scores = tagging_scores(np.ones((2, 1)), np.ones((2, 1), dtype=bool), ["all"])
    assert np.isnan(scores.roc_auc)
    assert np.isnan(scores.map)
    assert scores.num_tags == 0


@pytest.mark.parametrize(("positives", "total"), [(1, 1), (1, 5), (2, 6), (5, 6), (6, 6)])
def test_the_average_precision_of_random_orders_is_the_mean_over_all_orders(positives: int, total: int) -> None:
    orders = [np.isin(np.arange(total), rows) for rows in itertools.combinations(range(total), positives)]
    expected = np.mean([average_precision_score(order, -np.arange(total)) for order in orders])
    assert random_average_precision(positives, total) == pytest.approx(expected, abs=1e-12)

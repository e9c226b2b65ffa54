import itertools

import numpy as np
import pytest

from mulan.evaluation.metrics import gold_ranks, retrieval_scores, tagging_scores


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


def naive_order(scores: np.ndarray, gold: set[int]) -> list[int]:
    """Items by falling score; among equals those that are not gold come first."""
    return sorted(range(len(scores)), key=lambda item: (-scores[item], item in gold))


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


@pytest.mark.parametrize("seed", range(20))
def test_gold_ranks_are_positions_in_the_pessimistically_sorted_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, size=25).astype(np.float32)  # many ties
    gold = rng.choice(25, size=int(rng.integers(1, 14)), replace=False).tolist()
    order = naive_order(scores, set(gold))
    assert gold_ranks(scores, gold).tolist() == sorted(order.index(item) + 1 for item in gold)


def test_a_model_that_gives_every_item_the_same_score_ranks_the_gold_item_last() -> None:
    assert gold_ranks(np.zeros(7), [3]).tolist() == [7]


@pytest.mark.parametrize("seed", range(5))
def test_retrieval_scores_match_a_walk_down_each_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [(rng.normal(size=30), rng.choice(30, size=g, replace=False).tolist()) for g in (1, 1, 2, 5, 12, 30)]
    scores = retrieval_scores([gold_ranks(*each) for each in lists], num_items=30)
    best, precisions = [], []
    for similarity, gold in lists:
        right = [item in gold for item in naive_order(similarity, set(gold))]
        best.append(right.index(True) + 1)
        hits = [sum(right[: rank + 1]) / (rank + 1) for rank in range(10) if right[rank]]
        precisions.append(sum(hits) / min(len(gold), 10))
    assert scores.map10 == pytest.approx(np.mean(precisions), abs=1e-12)
    for cutoff, recall in ((1, scores.recall1), (5, scores.recall5), (10, scores.recall10)):
        assert recall == pytest.approx(np.mean([rank <= cutoff for rank in best]), abs=1e-12)
    assert scores.mrr == pytest.approx(np.mean([1 / rank for rank in best]), abs=1e-12)
    assert scores.median_rank == np.median(best)
    assert (scores.num_queries, scores.num_items) == (6, 30)


@pytest.mark.parametrize(("rank", "expected"), [(1, 1.0), (4, 0.25), (10, 0.1), (11, 0.0)])
def test_with_one_gold_item_average_precision_at_10_is_the_reciprocal_rank_within_ten(
    rank: int, expected: float
) -> None:
    assert retrieval_scores([np.array([rank])], num_items=20).map10 == pytest.approx(expected)

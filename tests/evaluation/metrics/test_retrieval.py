import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mulan.evaluation.metrics import retrieval
from mulan.evaluation.metrics.retrieval import gold_positions, retrieval_scores, rounded, search


def pessimistic_order(scores: np.ndarray, gold: set[int]) -> list[int]:
    """Items by descending score; among equal ones, gold items come last."""
    return sorted(range(len(scores)), key=lambda item: (-scores[item], item in gold))


@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_positions_in_the_pessimistically_sorted_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, size=25).astype(np.float32)  # many ties
    gold = rng.choice(25, size=int(rng.integers(1, 14)), replace=False).tolist()
    order = pessimistic_order(scores, set(gold))
    assert gold_positions(scores, gold).ranks.tolist() == sorted(order.index(item) + 1 for item in gold)


@pytest.mark.parametrize("seed", range(20))
def test_area_and_precision_are_those_of_scikit_learn_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, size=25) / 3
    gold = rng.choice(25, size=int(rng.integers(1, 14)), replace=False).tolist()
    truth = np.isin(np.arange(25), gold)
    positions = gold_positions(scores, gold)
    assert positions.roc_auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert positions.average_precision == pytest.approx(average_precision_score(truth, scores), abs=1e-12)


def test_a_model_that_gives_every_item_the_same_score_is_at_chance() -> None:
    positions = gold_positions(np.zeros(7), [3])
    assert positions.ranks.tolist() == [7]
    assert positions.roc_auc == 0.5
    assert positions.average_precision == pytest.approx(1 / 7)


def test_the_area_is_undefined_if_every_item_is_gold() -> None:
    scores = retrieval_scores([gold_positions(np.arange(3.0), [0, 1, 2]), gold_positions(np.arange(3.0), [2])])
    assert np.isnan(gold_positions(np.arange(3.0), [0, 1, 2]).roc_auc)
    assert (scores.roc_auc, scores.map) == (1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_scores_match_a_walk_down_each_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [(rng.integers(0, 40, size=30), rng.choice(30, size=g, replace=False).tolist()) for g in (1, 1, 2, 5, 12)]
    scores = retrieval_scores([gold_positions(*each) for each in lists])
    best, precisions = [], []
    for similarity, gold in lists:
        right = [item in gold for item in pessimistic_order(similarity, set(gold))]
        best.append(right.index(True) + 1)
        hits = [sum(right[: rank + 1]) / (rank + 1) for rank in range(10) if right[rank]]
        precisions.append(sum(hits) / min(len(gold), 10))
    assert scores.map10 == pytest.approx(np.mean(precisions), abs=1e-12)
    for cutoff, recall in ((1, scores.recall1), (5, scores.recall5), (10, scores.recall10)):
        assert recall == pytest.approx(np.mean([rank <= cutoff for rank in best]), abs=1e-12)
    assert scores.mrr == pytest.approx(np.mean([1 / rank for rank in best]), abs=1e-12)
    assert scores.median_rank == np.median(best)
    assert scores.prevalence == pytest.approx(np.mean([1, 1, 2, 5, 12]) / 30)
    assert (scores.num_queries, scores.num_items) == (5, 30)


@pytest.mark.parametrize(("rank", "expected"), [(1, 1.0), (4, 0.25), (10, 0.1), (11, 0.0)])
def test_with_one_gold_item_precision_at_10_is_the_reciprocal_rank_within_ten(rank: int, expected: float) -> None:
    positions = gold_positions(-np.arange(20.0), [rank - 1])
    assert positions.average_precision_at_cutoff == pytest.approx(expected)


def test_a_search_in_blocks_finds_what_the_whole_matrix_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(40, 5)).astype(np.float32)
    gold = [sorted(rng.choice(40, size=count, replace=False).tolist()) for count in range(1, 8)]
    similarity = rounded(queries.astype(np.float64) @ items.T.astype(np.float64))
    expected = [gold_positions(scores, each).ranks.tolist() for scores, each in zip(similarity, gold, strict=True)]
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", 8 * 40 * 3)  # three queries at a time
    assert [found.ranks.tolist() for found in search(queries, items, gold)] == expected


def test_a_model_that_embeds_everything_alike_is_at_chance_whatever_the_order_of_addition() -> None:
    rng = np.random.default_rng(0)
    vector = rng.normal(size=(1, 100)).astype(np.float32)
    items = np.repeat(vector / np.linalg.norm(vector), 999, axis=0)
    queries = rng.normal(size=(50, 100)).astype(np.float32)
    gold = [[int(row)] for row in rng.integers(999, size=50)]
    found = list(search(queries, items, gold))
    assert {each.roc_auc for each in found} == {0.5}
    assert {each.ranks.tolist()[0] for each in found} == {999}

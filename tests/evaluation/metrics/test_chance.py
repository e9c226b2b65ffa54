"""Tests the scores of random orders against all orders, and against many random ones."""

from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest

from mulan.evaluation.metrics.chance import chance_of_retrieval
from mulan.evaluation.metrics.retrieval import gold_positions, retrieval_scores


@pytest.mark.parametrize("items", [2, 7, 12])
def test_with_one_gold_item_they_follow_from_harmonic_numbers(items: int) -> None:
    chance = chance_of_retrieval([1, 1, 1], items)
    harmonic = [sum(1 / rank for rank in range(1, last + 1)) for last in (items, min(items, 10))]
    assert chance["mrr"] == pytest.approx(harmonic[0] / items, abs=1e-12)
    assert chance["map10"] == pytest.approx(harmonic[1] / items, abs=1e-12)
    assert chance["median_rank"] == (items + 1) / 2
    assert chance["recall5"] == pytest.approx(min(5 / items, 1), abs=1e-12)


@pytest.mark.parametrize("gold_counts", [(3,), (1, 4), (2, 2, 13), (11, 12)])
def test_they_are_the_mean_over_all_places_of_the_gold_items(gold_counts: tuple[int, ...]) -> None:
    items = 14
    means, ranks = [], []
    for gold in gold_counts:
        every = [
            retrieval_scores([gold_positions(-np.arange(items), places)]) for places in combinations(range(items), gold)
        ]
        values = [asdict(each) for each in every]
        means.append({name: np.mean([value[name] for value in values]) for name in values[0]})
        best = [each.median_rank for each in every]  # of a single query
        ranks += [(rank, 1 / len(best)) for rank in best]
    chance = chance_of_retrieval(gold_counts, items)
    for name in ("roc_auc", "map", "map10", "mrr", "recall1", "recall5", "recall10"):
        assert chance[name] == pytest.approx(np.mean([mean[name] for mean in means]), abs=1e-12), name
    cumulative = [
        sum(weight for other, weight in ranks if other <= rank) / len(gold_counts) for rank in range(1, items + 1)
    ]
    lower = 1 + sum(share < 0.5 - 1e-9 for share in cumulative)
    upper = 1 + sum(share < 0.5 + 1e-9 for share in cumulative)
    assert chance["median_rank"] == (lower + upper) / 2


def test_they_are_the_mean_of_random_orders() -> None:
    rng, gold_counts = np.random.default_rng(0), [1, 2, 10, 30] * 10
    drawn = []
    for _ in range(200):
        chosen = [rng.choice(60, size=gold, replace=False).tolist() for gold in gold_counts]
        drawn.append(asdict(retrieval_scores([gold_positions(rng.random(60), gold) for gold in chosen])))
    chance = chance_of_retrieval(gold_counts, 60)
    for name, value in chance.items():
        values = [each[name] for each in drawn]
        tolerance = 0.5 if name == "median_rank" else 5 * np.std(values) / 200**0.5
        assert np.mean(values) == pytest.approx(value, abs=tolerance), name

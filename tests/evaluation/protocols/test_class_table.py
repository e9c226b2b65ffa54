"""The table of classes equals that of loops over recordings and draws."""

import numpy as np

from mulan.evaluation.metrics.resampling import Resampling, interval_of
from mulan.evaluation.protocols.class_table import class_rows

CLASSES = ("a", "b", "c", "d")


def test_recalls_their_intervals_and_mistakes_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice([0, 1, 3], 60), rng.integers(0, 4, 60)
    credit = (truth == predicted).astype(float)
    resampling = Resampling([f"artist {number % 9}" for number in range(60)], replicates=80)
    rows = class_rows(truth, credit, np.eye(4, dtype=np.int64)[predicted], CLASSES, resampling)
    assert [row["tag"] for row in rows] == ["a", "b", "d"]
    drawn = np.concatenate(list(resampling.multiplicities()))
    for row in rows:
        own = [n for n in range(60) if CLASSES[truth[n]] == row["tag"]]
        assert row["recordings"] == len(own)
        recall = sum(credit[n] for n in own) / len(own)
        assert row["recall"] == recall
        draws = []
        for counts in drawn.tolist():
            total = sum(counts[n] for n in own)
            draws.append(sum(counts[n] * credit[n] for n in own) / total if total else np.nan)
        expected = interval_of(np.array(draws), recall)
        np.testing.assert_allclose(row["recall_interval"], [expected.low, expected.high], atol=1e-12)
        wrong = [CLASSES[predicted[n]] for n in own if predicted[n] != truth[n]]
        assert row["mistaken_for"] == max(sorted(set(wrong)), key=wrong.count)


def test_classes_that_are_never_mistaken_and_scores_without_draws_have_no_values_for_them() -> None:
    truth = np.array([0, 0, 2])
    rows = class_rows(truth, np.ones(3), np.eye(4, dtype=np.int64)[truth], CLASSES, Resampling(3, replicates=0))
    assert [(row["tag"], row["recall"], row["recall_interval"], row["mistaken_for"]) for row in rows] == [
        ("a", 1.0, None, None),
        ("c", 1.0, None, None),
    ]

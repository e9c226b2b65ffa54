"""Tests that both searches of the benchmark score the same planted queries."""

import numpy as np
import pytest

from mulan.benchmarks.retrieval_process import PlantedCollection, read_retrieval


def test_both_kinds_give_the_same_scores() -> None:
    ours, theirs = (read_retrieval(kind, 5, 400) for kind in ("search", "scikit-learn"))
    assert ours.roc_auc == pytest.approx(theirs.roc_auc, abs=1e-12)
    assert ours.average_precision == pytest.approx(theirs.average_precision, abs=1e-12)
    assert 0.7 < np.mean(ours.roc_auc) < 1  # the queries are near to what they ask for
    assert ours.seconds > 0 and ours.cpu_s > 0 and ours.peak_bytes > 2**24


def test_the_first_queries_do_not_depend_on_their_number() -> None:
    few, many = PlantedCollection.of(3, 250), PlantedCollection.of(9, 250)
    np.testing.assert_array_equal(few.items, many.items)
    np.testing.assert_array_equal(few.queries, many.queries[:3])
    assert all(10 <= len(set(rows)) == len(rows) <= 100 for rows in many.gold)
    assert few.items.dtype == few.queries.dtype == np.float32

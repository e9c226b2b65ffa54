"""Exact searches in blocks equal a loop over all rows, also with equal vectors and with few rows."""

import numpy as np
import pyarrow as pa
import pytest

from mulan.search import exact
from mulan.search.exact import ExactSearch
from mulan.search.query import Filter, Query
from mulan.search.table import Snapshot
from tests.search.planted import planted_vectors, tags_of


def snapshot(vectors: np.ndarray) -> Snapshot:
    count = len(vectors)
    row_ids = np.arange(count, dtype=np.uint64) * 3 + 5
    tags = pa.array([tags_of(row) for row in range(count)], pa.list_(pa.string()))
    return Snapshot(row_ids, vectors, np.arange(count, dtype=np.float64), tags, None)


@pytest.mark.parametrize("rows_at_once", [1, 7, 1000])
def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    monkeypatch.setattr(exact, "_ROWS_AT_ONCE", rows_at_once)
    vectors, wanted = planted_vectors(60), planted_vectors(4, seed=1)
    found = ExactSearch(snapshot(vectors)).nearest([Query(each, 3) for each in wanted])
    for query, row_ids in zip(wanted, found, strict=True):
        best = sorted(range(60), key=lambda row: -float(vectors[row] @ query))[: len(row_ids)]
        assert row_ids.tolist() == [3 * row + 5 for row in best]
        assert len(row_ids) == 7


def test_each_query_has_conditions_of_its_own() -> None:
    vectors = planted_vectors(30)
    conditions = [Filter(("genre:rock",)), Filter(), Filter(("genre:jazz",), 10.0, 15.0), Filter(("none",))]
    found = ExactSearch(snapshot(vectors)).nearest([Query(vectors[0], 30, each) for each in conditions])
    rows = [sorted((row_ids.astype(int) - 5) // 3) for row_ids in found]
    assert rows == [list(range(1, 30, 2)), list(range(30)), [10, 12, 14], []]


def test_rows_that_float32_cannot_order_are_found_in_order() -> None:
    centre, other = planted_vectors(2).astype(np.float64)
    nearly = np.stack([centre + number * 1e-7 * other for number in range(200)]).astype(np.float32)
    vectors = nearly[np.random.default_rng(0).permutation(200)]
    query = np.asarray(centre + 3 * other, np.float32)
    (found,) = ExactSearch(snapshot(vectors)).nearest([Query(query, 5)])
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    places = (found.astype(int) - 5) // 3
    np.testing.assert_array_equal(exact[places], np.sort(exact)[::-1][: len(places)])
    (some,) = ExactSearch(snapshot(vectors)).nearest([Query(query, 5, Filter(("genre:rock",)))])
    assert set((some.astype(int) - 5) // 3 % 2) == {1}


def test_equal_vectors_are_all_found() -> None:
    vectors = np.repeat(planted_vectors(1), 10, axis=0)
    (found,) = ExactSearch(snapshot(vectors)).nearest([Query(vectors[0], 10)])
    assert sorted(found.tolist()) == [3 * row + 5 for row in range(10)]

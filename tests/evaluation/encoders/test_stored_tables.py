"""Tests that tables of vectors are read from any layout of a Parquet file, and that rows are selected from them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.evaluation.encoders.stored_tables import StoredTable, read_table

ROWS: list[tuple[str, list[list[float]]]] = [
    ("a", [[1.0, 2.0]]),
    ("b", [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]),
    ("c", [[-1.0, 0.5], [0.25, 9.0]]),
]


def stored(path: Path) -> StoredTable:
    faults: list[str] = []
    table = read_table(str(path), path.name, faults)
    assert table is not None
    assert faults == []
    return table


@pytest.mark.parametrize(
    "ids", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
@pytest.mark.parametrize("rows_of_group", [1, 2, 3])
def test_rows_are_selected_in_the_order_that_is_asked_for(ids: pa.DataType, rows_of_group: int, tmp_path: Path) -> None:
    columns = {"recording_id": pa.array([key for key, _ in ROWS]).cast(ids), "embedding": [row for _, row in ROWS]}
    pq.write_table(pa.table(columns), tmp_path / "v.parquet", row_group_size=rows_of_group)
    table = stored(tmp_path / "v.parquet")
    assert (table.key, table.keys, table.dim, list(table.faults())) == ("recording_id", ("a", "b", "c"), 2, [])
    for order in ([0, 1, 2], [2, 0], [1, 1, 0], [2], []):
        vectors, starts = table.select(np.array(order, np.int64))
        assert vectors.dtype == np.float32
        assert starts.tolist() == [0, *np.cumsum([len(ROWS[row][1]) for row in order])]
        assert vectors.tolist() == [vector for row in order for vector in ROWS[row][1]]


def test_tables_are_joined_and_normalised() -> None:
    one = StoredTable("text", ("a",), np.float32([3, 4]), np.array([2]), np.array([1]))
    other = StoredTable("text", ("b", "c"), np.float32([0, 2, -5, 0]), np.array([2, 2]), np.array([1, 1]))
    joined = StoredTable.joined([one, other]).normalised()
    assert joined.rows == {"a": 0, "b": 1, "c": 2}
    np.testing.assert_allclose(joined.select(np.arange(3))[0], [[0.6, 0.8], [0, 1], [-1, 0]], rtol=1e-6)


def test_a_vector_without_a_list_is_none_but_does_not_shift_the_others(tmp_path: Path) -> None:
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2)):
        vectors = pa.array([[1.0, 2.0], None, [3.0, 4.0]], kind)
        pq.write_table(pa.table({"text": ["a", "b", "c"], "embedding": vectors}), tmp_path / "v.parquet")
        table = stored(tmp_path / "v.parquet")
        assert list(table.faults()) == ["the text 'b' has no vector"]
        assert table.select(np.array([2]))[0].tolist() == [[3, 4]]

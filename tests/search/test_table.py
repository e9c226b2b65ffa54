"""The table keeps rows apart by their ids, on local disks and in object stores, and its faults have a remedy."""

from pathlib import Path

import numpy as np
import pytest

from mulan.search.building import add_to_index, delete_from_index
from mulan.search.errors import UnusableIndex
from mulan.search.index import SearchIndex
from mulan.search.query import Query
from mulan.search.table import RecordingTable
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from tests.conftest import S3
from tests.search.planted import name_of, planted_vectors, write_planted

VECTORS = planted_vectors(30)


def test_an_index_in_an_object_store_is_made_changed_and_searched(s3: S3, tmp_path: Path) -> None:
    uri = filesystem.join(s3.uri, "index")
    add_to_index(uri, write_planted(tmp_path / "first", VECTORS[:20]))
    add_to_index(uri, write_planted(tmp_path / "all", VECTORS))
    delete_from_index(uri, [name_of(1)])
    index = SearchIndex.open(uri)
    (found,) = index.search([Query(VECTORS[25], 100)])
    assert sorted(each.row.recording_id for each in found) == [name_of(row) for row in range(30) if row != 1]
    assert found[0].row.recording_id == name_of(25)
    np.testing.assert_array_equal(found[0].row.vector, VECTORS[25])


def test_rows_are_taken_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    add_to_index(str(tmp_path / "index"), write_planted(tmp_path / "embeddings", VECTORS))
    table = RecordingTable.open(str(tmp_path / "index"))
    snapshot = table.snapshot()
    order = np.random.default_rng(0).permutation(30)
    rows = table.take(snapshot.row_ids[np.concatenate([order, order[:3]])])
    np.testing.assert_array_equal(
        np.stack([row.vector for row in rows]), snapshot.vectors[np.concatenate([order, order[:3]])]
    )
    assert table.take(snapshot.row_ids[:0]) == []


def test_a_table_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    add_to_index(uri, write_planted(tmp_path / "embeddings", VECTORS))
    opened = RecordingTable.open(uri)
    for file in (tmp_path / "index" / "recordings.lance" / "data").iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(StorageError, match=f"the index {uri} cannot be read or written"):
        opened.snapshot()
    with pytest.raises(UnusableIndex, match=r"has no table of recordings; make the index again"):
        RecordingTable.open(str(tmp_path))

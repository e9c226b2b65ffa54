"""Tests the rows of an index, and the bytes of its file."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index import Corpus, Location
from mulan.data.corpus.index_rows import INDEX_NAME, SCHEMA, index_row, index_tables, write_index
from tests.data.corpus.indexed import row


def test_an_index_is_written_atomically(tmp_path: Path) -> None:
    write_index(pa.Table.from_pylist([row(0)], SCHEMA), str(tmp_path))
    before = (tmp_path / INDEX_NAME).read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        write_index(pa.Table.from_pylist([row(0)], SCHEMA).set_column(2, "offset", pa.array(["x"])), str(tmp_path))
    assert (tmp_path / INDEX_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_NAME]


def test_columns_that_an_index_lacks_are_the_defaults_and_are_not_written(tmp_path: Path) -> None:
    """So that an index without them keeps its bytes, by which a run recognizes its corpus."""
    fields, old = Fields(tags=("t",)).to_json(), pa.schema(list(SCHEMA)[:8])
    for number, (first, second, written) in enumerate(
        (
            (row(0), row(1), old.names),
            (row(0), row(1, fields=fields), [*old.names, "fields"]),
            (row(0), row(1, further_ranges=[0, 512, 4096, 512]), [*old.names, "further_ranges"]),
        )
    ):
        folder = tmp_path / str(number)
        write_index(pa.Table.from_pylist([first, second], SCHEMA), str(folder))
        assert pq.read_schema(folder / INDEX_NAME).names == written
        corpus = Corpus.open(str(folder))
        assert corpus.table.to_pylist() == [{name: each[name] for name in written} for each in (first, second)]
        further = tuple(second["further_ranges"])
        assert corpus.locations([1]) == [Location(f"{folder}/shards/0.tar", 512, 512, further, second["fields"])]
        ranges = [(512, 512), (0, 512), (4096, 512)] if further else [(512, 512)]
        assert corpus.locations([1])[0].ranges == ranges
    write_index(pa.Table.from_pylist([row(0), row(1)], old), str(tmp_path / "old"))
    assert Corpus.open(str(tmp_path / "old")).index_sha256 == Corpus.open(str(tmp_path / "0")).index_sha256


def test_rows_become_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulan.data.corpus.index_rows._ROWS_AT_ONCE", 2)
    metadata = {"duration_s": 1.0, "texts": {"short_form": ["x"]}}
    rows = [index_row(f"{n}", "a.tar", [(n, 1)], metadata, fields=f"{{{n % 3}}}") for n in range(5)]
    tables = list(index_tables(iter(rows)))
    assert [table.num_rows for table in tables] == [2, 2, 1]
    assert all(table.schema == SCHEMA for table in tables)
    assert pa.concat_tables(tables).to_pylist() == rows
    assert not list(index_tables([]))


def test_the_bytes_do_not_depend_on_the_parts_of_the_rows(tmp_path: Path) -> None:
    whole = pa.Table.from_pylist([row(n, fields=f"{{{n % 3}}}", further_ranges=[n, 1]) for n in range(100)], SCHEMA)
    parts = [whole.slice(start, 7) for start in range(0, 100, 7)]
    write_index(whole, str(tmp_path / "whole"), content_sha256="a" * 64)
    write_index(parts, str(tmp_path / "parts"), content_sha256="a" * 64)
    one, other = ((tmp_path / name / INDEX_NAME).read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_copies_have_the_same_digest_and_other_corpora_do_not(tmp_path: Path) -> None:
    rows = {"one": [row(0), row(1)], "other": [row(0), row(2)]}
    for name, content in rows.items():
        write_index(pa.Table.from_pylist(content, SCHEMA), str(tmp_path / name))
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    one, other, copy = (Corpus.open(str(tmp_path / name)).index_sha256 for name in ("one", "other", "copy"))
    assert one == copy != other
    assert len(one) == 64

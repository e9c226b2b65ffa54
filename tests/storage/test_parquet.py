"""Tests that a Parquet file which is written in parts has all of them, in bytes that do not depend on the parts."""

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.storage import parquet
from mulan.storage.errors import StoragePermanentError
from mulan.storage.parquet import write_parquet

SCHEMA = pa.schema([pa.field("number", pa.int64()), pa.field("text", pa.string())], metadata={"about": "it"})


def parts_of(rows: pa.Table, size: int) -> list[pa.Table]:
    return [rows.slice(start, size) for start in range(0, rows.num_rows, size)]


def test_the_bytes_do_not_depend_on_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROW_GROUP", 40)
    rows = pa.table({"number": range(100), "text": [f"{number % 7}" for number in range(100)]})
    for size in (1, 3, 40, 100):
        write_parquet(parts_of(rows, size), SCHEMA, str(tmp_path / f"{size}.parquet"))
    contents = {(tmp_path / f"{size}.parquet").read_bytes() for size in (1, 3, 40, 100)}
    assert len(contents) == 1
    written = pq.ParquetFile(tmp_path / "3.parquet")
    assert [written.metadata.row_group(number).num_rows for number in range(3)] == [40, 40, 20]
    assert written.read().to_pylist() == rows.to_pylist()
    assert written.schema_arrow.metadata == {b"about": b"it"}


def test_no_parts_are_an_empty_file(tmp_path: Path) -> None:
    write_parquet([], SCHEMA, str(tmp_path / "empty.parquet"))
    assert pq.read_table(tmp_path / "empty.parquet") == SCHEMA.empty_table()


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def failing() -> list[pa.Table]:
        return [pa.table({"number": [1], "text": ["a"]}), pa.table({"number": ["x"], "text": ["a"]})]

    with pytest.raises(pa.ArrowInvalid):
        write_parquet(failing(), SCHEMA, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(StoragePermanentError, match=r"file/x\.parquet cannot be written"):
        write_parquet([], SCHEMA, str(tmp_path / "file" / "x.parquet"))


def test_other_storage_is_written() -> None:
    write_parquet([pa.table({"number": [1], "text": ["a"]})], SCHEMA, "memory://tables/t.parquet")
    content = fsspec.filesystem("memory").cat_file("/tables/t.parquet")
    assert pq.read_table(pa.BufferReader(content)).to_pylist() == [{"number": 1, "text": "a"}]
    fsspec.filesystem("memory").rm("/tables", recursive=True)

"""Tests the reading of tables in all formats, and the faults that are named."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from mulan.preparation.faults import SourceError
from mulan.preparation.texts.tables import column_rows

ROWS = [
    {"text": 'quoted, "text"\nof two lines', "label": "1"},
    {"text": "夜", "label": "0"},
]
FILES = {
    "csv": 'other,text,label\nx,"quoted, ""text""\nof two lines",1\n\ny,夜,0\n',
    "tsv": 'text\tlabel\n"quoted, ""text""\nof two lines"\t1\n夜\t0\n',
    "jsonl": '{"text": "quoted, \\"text\\"\\nof two lines", "label": "1", "x": 2}\n\n{"text": "夜", "label": "0"}\n',
}
LINES = {"csv": [2, 5], "tsv": [2, 4], "jsonl": [1, 3]}


@pytest.mark.parametrize("extension", FILES)
def test_rows_are_read_with_their_lines(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"table.{extension}"
    path.write_bytes(b"\xef\xbb\xbf" + FILES[extension].encode())
    assert list(column_rows("labels", str(path), ["text", "label"])) == list(zip(LINES[extension], ROWS, strict=True))


def test_parquet_files_are_read_in_parts(tmp_path: Path) -> None:
    path = str(tmp_path / "table.parquet")
    table = pyarrow.table({"label": list(range(25_000)), "x": [0] * 25_000, "text": [None, *map(str, range(24_999))]})
    parquet.write_table(table, path)
    rows = list(column_rows("labels", path, ["text", "label"]))
    assert rows[0] == (1, {"text": None, "label": 0})
    assert rows[-1] == (25_000, {"text": "24998", "label": 24_999})
    assert [row for row, _ in rows] == list(range(1, 25_001))


def test_missing_values_of_json_are_none(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text('{"text": "a", "label": true}\n{"label": 0.0}\n')
    assert [row for _, row in column_rows("labels", str(path), ["text", "label"])] == [
        {"text": "a", "label": True},
        {"text": None, "label": 0.0},
    ]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", "text,lable\na,1\n", "line 1: the header lacks label"),
        ("a.csv", "text,label\na\n", "line 2: 1 fields instead of 2"),
        ("a.csv", 'text,label\n"a,1\n', "line 2: damaged row"),
        ("a.csv", "", "is empty"),
        ("a.jsonl", '{"text": "a"}\nnothing\n[1]\n', "line 2: is no JSON object"),
        ("a.jsonl", "[" * 100_000, "line 1: is no JSON object"),
        ("a.parquet", "PAR1 damaged", "is damaged or lacks a column"),
        ("a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of a Git LFS file"),
        ("a.xlsx", "a", "has no extension of a table: .csv, .tsv, .jsonl, .parquet or .arrow"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, content: str, fault: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SourceError) as raised:
        list(column_rows("labels", str(path), ["text", "label"]))
    assert fault in str(raised.value)
    assert str(path) in str(raised.value)


def test_all_lines_that_are_no_json_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('1\n{"text": "a", "label": 1}\n{\n')
    with pytest.raises(SourceError) as raised:
        list(column_rows("labels", str(path), ["text", "label"]))
    assert [fault.partition(": ")[0] for fault in raised.value.faults] == [f"{path}, line 1", f"{path}, line 3"]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_a_missing_table_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"there is no file {tmp_path}/{name}; give a table with the columns text"):
        list(column_rows("labels", str(tmp_path / name), ["text"]))


def test_a_parquet_file_without_a_column_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "table.parquet")
    parquet.write_table(pyarrow.table({"text": ["a"]}), path)
    with pytest.raises(SourceError, match="lacks a column: there is no column label"):
        list(column_rows("labels", path, ["text", "label"]))

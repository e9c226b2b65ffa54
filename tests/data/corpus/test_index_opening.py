"""Tests that an opened index has the rows of its file, in memory or from the cache, and that faults are listed."""

import io
import os
import pickle
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.config.sections import STORED_SOURCES
from mulan.data.corpus import index_opening
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_columns import OPENED_SCHEMA
from mulan.data.corpus.index_opening import open_index
from mulan.data.corpus.index_rows import INDEX_NAME, SCHEMA, write_index
from mulan.data.corpus.metadata import SPLITS
from mulan.data.errors import CorpusError
from mulan.storage.machine_cache import CACHE_VARIABLE
from tests.data.corpus.indexed import row


@pytest.fixture(params=["in memory", "cached"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where an index of any size is held when it is open; its rows are read in several batches."""
    kind = str(request.param)
    monkeypatch.setattr(index_opening, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(index_opening, "CACHED_FROM_ROWS", 1000 if kind == "in memory" else 0)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return kind


def drawn_rows(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    tags = ["genre:jazz", "夜曲", "", "mood:calm"]
    return [
        row(
            number,
            recording_id=f"{'x' * int(rng.integers(30))}/{number}ü",
            uri=f"shards/{number // 9}.tar",
            offset=int(rng.integers(2**40)),
            duration_s=float(rng.random() + 0.1),
            split=str(rng.choice(SPLITS)),
            sources=[source for source in (*STORED_SOURCES, "lyrics") if rng.random() < 0.4],
            tags=[tag for tag in tags if rng.random() < 0.4],
            fields=str(rng.choice(["", '{"texts": {}, "tags": ["t"]}'])),
            further_ranges=[512, 1024] * int(rng.integers(3)),
        )
        for number in range(count)
    ]


@pytest.mark.usefixtures("storage")
def test_an_opened_index_has_the_rows_of_the_file(tmp_path: Path) -> None:
    rows = drawn_rows(100)
    write_index(pa.Table.from_pylist(rows, SCHEMA), str(tmp_path))
    opened = open_index(str(tmp_path))
    assert opened.table.schema == OPENED_SCHEMA
    assert all(column.num_chunks == 1 for column in opened.table.columns)
    assert opened.table.to_pylist() == rows
    assert pickle.loads(pickle.dumps(opened, 5)).table.to_pylist() == rows
    opened.table.validate(full=True)


def test_a_large_index_is_read_once_and_then_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_opening, "CACHED_FROM_ROWS", 0)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    write_index(pa.Table.from_pylist(drawn_rows(20), SCHEMA), str(tmp_path))
    first = open_index(str(tmp_path))
    (cached,) = (tmp_path / "cache" / "indices").glob("*.arrow")
    assert sorted(path.suffix for path in cached.parent.iterdir()) == [".arrow", ".lock"]
    with monkeypatch.context() as patched:
        patched.setattr(index_opening, "_read", None)
        assert open_index(str(tmp_path)) == first
    write_index(pa.Table.from_pylist(drawn_rows(21), SCHEMA), str(tmp_path))
    assert open_index(str(tmp_path)).table.num_rows == 21
    assert first.table.num_rows == 20
    os.utime(cached, (0, time.time() - 31 * 86_400))
    write_index(pa.Table.from_pylist(drawn_rows(22), SCHEMA), str(tmp_path))
    open_index(str(tmp_path))
    assert not cached.exists()
    assert first.table.to_pylist() == drawn_rows(20)  # of a file that was removed


def test_a_damaged_file_of_the_cache_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_opening, "CACHED_FROM_ROWS", 0)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    write_index(pa.Table.from_pylist(drawn_rows(20), SCHEMA), str(tmp_path))
    open_index(str(tmp_path))
    (cached,) = (tmp_path / "cache" / "indices").glob("*.arrow")
    whole = cached.read_bytes()
    (tmp_path / "cache" / "indices" / f"{cached.stem}.partial-killed").mkdir()
    for damaged in (whole[:-20], b"", b"ARROW1"):
        cached.unlink()
        cached.write_bytes(damaged)
        assert open_index(str(tmp_path)).table.to_pylist() == drawn_rows(20)
    assert cached.read_bytes() == whole
    assert not list(cached.parent.glob("*.partial-*"))


def test_an_index_in_other_storage_is_copied_once_for_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_opening, "CACHED_FROM_ROWS", 0)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    write_index(pa.Table.from_pylist(drawn_rows(20), SCHEMA), str(tmp_path))
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/large/{INDEX_NAME}", (tmp_path / INDEX_NAME).read_bytes())
    first = open_index("memory://large")
    assert first == open_index(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(memory, "get_file", None)
        assert open_index("memory://large") == first
    write_index(pa.Table.from_pylist(drawn_rows(21), SCHEMA), "memory://large")
    assert open_index("memory://large").table.num_rows == 21
    memory.rm("/large", recursive=True)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_opening, "CACHED_FROM_ROWS", 0)
    write_index(pa.Table.from_pylist(drawn_rows(20), SCHEMA), str(tmp_path))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(CorpusError, match=rf"has 20 rows, and cannot be cached: .*{CACHE_VARIABLE} to a folder with"):
        open_index(str(tmp_path))
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(CorpusError, match="cannot be cached: this user has no home folder"):
        open_index(str(tmp_path))


def faults_of(folder: Path, content: bytes | pa.Table | None = None) -> str:
    folder.mkdir(exist_ok=True)
    if isinstance(content, pa.Table):
        pq.write_table(content, folder / INDEX_NAME)
    elif content is not None:
        (folder / INDEX_NAME).write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        open_index(str(folder))
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_other_integer_types_and_column_orders_are_accepted(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(0), row(1)], SCHEMA)
    offsets = table["offset"].cast(pa.int32())
    table = table.set_column(2, "offset", offsets).append_column("comment", pa.array(["a", "b"]))
    pq.write_table(table.select([*reversed(SCHEMA.names), "comment"]), tmp_path / INDEX_NAME)
    opened = open_index(str(tmp_path)).table
    assert opened.schema == OPENED_SCHEMA
    assert opened.to_pylist() == [row(0), row(1)]


def test_a_folder_without_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=rf"{tmp_path}/nowhere: there is no index\.parquet"):
        Corpus.open(str(tmp_path / "nowhere"))
    assert "there is no index.parquet" in faults_of(tmp_path / "empty")
    with pytest.raises(CorpusError, match="there is no index"):
        Corpus.open("memory://no-such-corpus")
    with pytest.raises(CorpusError, match="nosuchprotocol"):
        Corpus.open("nosuchprotocol://corpus")
    (tmp_path / "folder" / INDEX_NAME).mkdir(parents=True)
    assert "cannot be read" in faults_of(tmp_path / "folder")


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    whole = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row(0)], SCHEMA), whole)
    for content in (b"", b"recording_id,uri\n", whole.getvalue()[:-9]):
        assert "index.parquet is not a Parquet file" in faults_of(tmp_path, content)


def test_all_missing_columns_are_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(0)], SCHEMA).drop_columns(["uri", "split", "tags"])
    assert "lacks columns: uri, split, tags" in faults_of(tmp_path, table)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("offset", pa.array(["here"])),
        ("sources", pa.array(["short_form"])),
        ("duration_s", pa.array([{"s": 1}])),
        ("length", pa.array([0.5])),
    ],
)
def test_a_column_of_the_wrong_type_is_named(column: str, values: pa.Array, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(0)], SCHEMA)
    table = table.set_column(SCHEMA.names.index(column), column, values)
    assert "has a column of the wrong type" in faults_of(tmp_path, table)


def test_all_columns_with_nulls_are_named(tmp_path: Path) -> None:
    schema = pa.schema([field.with_nullable(True) for field in SCHEMA])
    rows = [row(0), row(1, uri=None), row(2, offset=-1), row(3, tags=["a", None])]
    assert "index.parquet has nulls in uri, tags" in faults_of(tmp_path, pa.Table.from_pylist(rows, schema))


@pytest.mark.parametrize("index_type", [pa.int8(), pa.int32(), pa.int64()])
def test_coded_columns_are_accepted(tmp_path: Path, index_type: pa.DataType) -> None:
    """As pandas writes categories."""
    rows = [row(0), row(1, split="test")]
    table = pa.Table.from_pylist(rows, SCHEMA)
    coded = table["split"].combine_chunks().dictionary_encode()
    coded = pa.DictionaryArray.from_arrays(coded.indices.cast(index_type), coded.dictionary.cast(pa.large_string()))
    pq.write_table(table.set_column(5, "split", coded), tmp_path / INDEX_NAME)
    assert open_index(str(tmp_path)).table.to_pylist() == rows


def test_all_invalid_rows_are_listed(tmp_path: Path) -> None:
    rows = [row(number) for number in range(20)]
    rows += [row(20 + number, offset=-1) for number in range(4)]
    rows += [row(30, length=0), row(31, length=-512), row(40, duration_s=0.0), row(41, duration_s=float("nan"))]
    rows += [
        row(50, split="dev"),
        row(7),
        row(8),
        row(60, further_ranges=[512]),
        row(61, further_ranges=[0, 512, -1, 9]),
    ]
    rows += [row(62, fields="{}"), row(63, fields='{"texts": {"lyrics": ["x"]}, "tags": []}')]
    message = faults_of(tmp_path, pa.Table.from_pylist(rows, SCHEMA))
    for fault in (
        "4 recordings have a negative offset (r20, r21, r22, ...)",
        "2 recordings have a length that is not positive (r30, r31)",
        "2 recordings have a duration that is not positive (r40, r41)",
        "1 recordings have a split other than train, validation, test (r50)",
        "2 recording ids occur more than once (r7, r8)",
        "1 recordings have half a range (r60)",
        "further_ranges has negative, too large or empty ranges",
        "fields has '{}': not the names of fields",
        "unknown text sources: lyrics",
    ):
        assert fault in message
    assert "the index has no rows" in faults_of(tmp_path, pa.Table.from_pylist([], SCHEMA))

import uuid
from pathlib import Path

import pytest

from mulan.preparation.columnar import ColumnarReader, DamagedTable
from mulan.storage import filesystem
from mulan.storage.errors import UnsupportedStorage
from mulan.storage.filesystem import S3_ATTEMPTS
from tests.conftest import S3
from tests.preparation.tables import FORMATS, audio_table, write_table
from tests.s3_proxy import SLOW_DOWN

AUDIO = [bytes([index]) * (1 + index) for index in range(23)]
TABLE = audio_table(list(AUDIO), number=list(range(23)))
COLUMNS = [("number",), ("audio", "path")]


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return write_table(TABLE, tmp_path, request.param, rows=5)


def remote_copy(path: str) -> str:
    uri = f"memory://{uuid.uuid4().hex}/{Path(path).name}"
    filesystem.write_atomically(uri, Path(path).read_bytes())
    return uri


@pytest.mark.parametrize("remote", [False, True])
def test_batches_are_the_rows_in_order(path: str, remote: bool) -> None:
    with ColumnarReader(remote_copy(path) if remote else path, COLUMNS, batch_rows=3) as reader:
        batches = list(reader.batches())
        assert [batch[0] for batch in batches] == [sum(len(b[1][0]) for b in batches[:i]) for i in range(len(batches))]
        assert [value for _, (numbers, _) in batches for value in numbers.to_pylist()] == list(range(23))
        assert [value for _, (_, names) in batches for value in names.to_pylist()] == [
            f"{i:03d}.wav" for i in range(23)
        ]
        assert max(len(numbers) for _, (numbers, _) in batches) <= 5
        assert reader.schema.names == ["audio", "number"]


@pytest.mark.parametrize("remote", [False, True])
def test_rows_are_found_in_any_order(path: str, remote: bool) -> None:
    with ColumnarReader(remote_copy(path) if remote else path, [("number",)], batch_rows=3) as reader:
        for row in (0, 4, 5, 22, 3, 3, 17, 0):
            found = reader.batch_at(row)
            assert found is not None
            assert found[1][0][row - found[0]].as_py() == row
        assert reader.batch_at(23) is None
        found = reader.batch_at(22)  # also after the end was met
        assert found is not None
        assert found[1][0][22 - found[0]].as_py() == 22


@pytest.mark.parametrize("kind", FORMATS)
def test_whether_a_column_has_values(kind: str, tmp_path: Path) -> None:
    none = write_table(audio_table([None] * 8), tmp_path, kind, rows=3, name="none")
    some = write_table(audio_table([b"x"] * 8), tmp_path, kind, rows=3, name="some")
    empty = write_table(audio_table([]), tmp_path, kind, rows=3, name="empty")
    for path, expected in ((none, False), (some, True), (empty, False)):
        with ColumnarReader(path) as reader:
            assert reader.has_values(("audio", "bytes")) is expected


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_table_has_no_batches(kind: str, tmp_path: Path) -> None:
    path = write_table(TABLE.slice(0, 0), tmp_path, kind, rows=5)
    with ColumnarReader(path, COLUMNS) as reader:
        assert list(reader.batches()) == []


def test_a_missing_column_is_named(path: str) -> None:
    with ColumnarReader(path, [("sound",)]) as reader, pytest.raises(DamagedTable, match="there is no column sound"):
        reader.batch_at(0)


def test_damaged_files_are_refused(path: str) -> None:
    content = Path(path).read_bytes()
    for damaged in (b"", b"x" * 100, content[: len(content) // 3]):
        Path(path).write_bytes(damaged)
        with ColumnarReader(path, COLUMNS) as reader, pytest.raises(DamagedTable):
            list(reader.batches())


def test_missing_files_and_unusable_uris_keep_their_errors(tmp_path: Path) -> None:
    for name in ("table.parquet", "table.arrow"):
        with ColumnarReader(str(tmp_path / name)) as reader, pytest.raises(FileNotFoundError):
            _ = reader.schema
    with ColumnarReader("nosuchscheme://table.parquet") as reader, pytest.raises(UnsupportedStorage):
        _ = reader.schema


def test_reading_survives_failures_of_the_storage(s3: S3, tmp_path: Path) -> None:
    path = write_table(TABLE, tmp_path, "parquet", rows=5)
    uri = f"{s3.uri}/{Path(path).name}"
    s3.files.put_file(path, uri)
    s3.proxy.fail(SLOW_DOWN, "GET", times=S3_ATTEMPTS + 1)  # so that one whole reading fails
    with ColumnarReader(uri, [("number",)], batch_rows=3) as reader:
        assert [value for _, (numbers,) in reader.batches() for value in numbers.to_pylist()] == list(range(23))
    assert sum(request.startswith("GET") for request in s3.proxy.requests) > S3_ATTEMPTS + 1

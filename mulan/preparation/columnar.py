"""Reading of Parquet and Arrow files in batches of rows, locally or on any storage that fsspec supports."""

import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from mulan.storage import filesystem
from mulan.storage.retries import with_retries
from mulan.storage.text_file import IS_LFS_POINTER, LFS_POINTER

PARQUET_EXTENSIONS = frozenset({"parquet", "pq"})
ARROW_EXTENSIONS = frozenset({"arrow", "feather"})

BATCH_ROWS = 16
"""Maximum number of rows of a Parquet file that are in memory, if it contains audio."""
_BUFFER_BYTES = 2**20
_BLOCK_BYTES = 4 * 2**20
"""Minimum number of bytes of one request for a remote file."""
_ARROW_FILE_MAGIC = b"ARROW1"

T = TypeVar("T")

Column = tuple[str, ...]
"""A column by name, or a field of a column of structs: ``("audio", "path")``."""


class DamagedTable(ValueError):
    """Raised for a file that is not a Parquet or Arrow file, is truncated or damaged, or lacks a column."""


class _Opened(Protocol):
    """An open file and the position in it."""

    schema: pa.Schema

    def seek(self, row: int) -> tuple[int, Iterator[pa.RecordBatch]]:
        """Returns the batches from the one with a row on, or from an earlier one, and the number of the first row."""


class ColumnarReader:
    """A Parquet file, an Arrow file or an Arrow stream, which is read in order of its rows, or from any row on.

    Only one batch is in memory. Reading backwards, or after an error of the storage, opens the file again. A remote
    Arrow stream is read from its beginning, as it has no table of its batches.
    """

    def __init__(self, uri: str, columns: Sequence[Column] | None = None, *, batch_rows: int = BATCH_ROWS) -> None:
        """
        Args:
            uri: Path or URI of the file.
            columns: Columns to read; None for none but the schema.
            batch_rows: Maximum number of rows of a batch of a Parquet file; the batches of Arrow are stored ones.
        """
        self.uri = uri
        self.columns: tuple[Column, ...] = tuple(columns or ())
        self._batch_rows = batch_rows
        self._opened: _Opened | None = None
        self._resources = ExitStack()
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._next_row = 0
        self._current: tuple[int, pa.RecordBatch] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. It is opened again when it is read."""
        self._resources.close()
        self._opened = self._batches = self._current = None

    @property
    def schema(self) -> pa.Schema:
        """The schema of the whole file.

        Raises:
            DamagedTable: The file is damaged.
            FileNotFoundError: There is no such file.
            StorageError, StoragePermanentError: The file cannot be read.
        """
        return self._retried(lambda: self._open().schema)

    def has_values(self, column: Column) -> bool:
        """Returns whether a column may have a value that is not null; looks at the first batch of an Arrow file.

        Raises:
            DamagedTable, FileNotFoundError, StorageError, StoragePermanentError: As for :attr:`schema`.
        """
        return self._retried(lambda: _has_values(self._open(), column))

    def batch_at(self, row: int) -> tuple[int, list[pa.Array]] | None:
        """Returns the batch with a row: the number of its first row, from 0, and its columns; None after the last row.

        Raises:
            DamagedTable, FileNotFoundError, StorageError, StoragePermanentError: As for :attr:`schema`.
        """
        found = self._retried(lambda: self._batch_at(row))
        return found and (found[0], [_column(found[1], column) for column in self.columns])

    def batches(self) -> Iterator[tuple[int, list[pa.Array]]]:
        """Yields all batches, each with the number of its first row.

        Raises:
            DamagedTable, FileNotFoundError, StorageError, StoragePermanentError: As for :attr:`schema`.
        """
        row = 0
        while (batch := self.batch_at(row)) is not None:
            yield batch
            row = batch[0] + len(batch[1][0])

    def _batch_at(self, row: int) -> tuple[int, pa.RecordBatch] | None:
        opened = self._open()
        if self._batches is None or row < (self._current[0] if self._current else self._next_row):
            self._current = None
            self._next_row, self._batches = opened.seek(row)
        while self._current is None or row >= self._next_row:
            self._current = None  # before the next batch is read, to hold a single one in memory
            batch = next(self._batches, None)
            if batch is None:
                return None
            self._current, self._next_row = (self._next_row, batch), self._next_row + batch.num_rows
        return self._current

    def _open(self) -> _Opened:
        if self._opened is None:
            self._opened = _open(self.uri, self.columns, self._batch_rows, self._resources)
        return self._opened

    def _retried(self, read: Callable[[], T]) -> T:
        def attempt() -> T:
            try:
                return read()
            except BaseException as error:
                self.close()
                if _is_damage(error):
                    raise DamagedTable(_damage(self.uri, error)) from error
                raise

        return with_retries(f"{self.uri} cannot be read", attempt)


class _ParquetTable:
    def __init__(self, file: Any, columns: Sequence[Column], batch_rows: int) -> None:
        self.parquet = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        self.schema = self.parquet.schema_arrow
        _check_columns(self.schema, columns)  # pyarrow would ignore unknown ones
        self._columns, self._batch_rows = [".".join(column) for column in columns], batch_rows

    def seek(self, row: int) -> tuple[int, Iterator[pa.RecordBatch]]:
        metadata, first, group = self.parquet.metadata, 0, 0
        while group < metadata.num_row_groups and first + metadata.row_group(group).num_rows <= row:
            first += metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, metadata.num_row_groups))
        if not groups:
            return first, iter(())
        return first, self.parquet.iter_batches(self._batch_rows, groups, self._columns, use_threads=False)


class _ArrowFile:
    def __init__(self, file: Any, columns: Sequence[Column]) -> None:
        self.schema = pa.ipc.open_file(file).schema
        self._reader = pa.ipc.open_file(file, options=_projection(self.schema, columns))

    def seek(self, row: int) -> tuple[int, Iterator[pa.RecordBatch]]:
        return 0, (self._reader.get_batch(index) for index in range(self._reader.num_record_batches))


class _ArrowStream:
    def __init__(self, file: Any, columns: Sequence[Column]) -> None:
        self._file, self._columns = file, columns
        self.schema = self._reader().schema

    def seek(self, row: int) -> tuple[int, Iterator[pa.RecordBatch]]:
        return 0, iter(self._reader(_projection(self.schema, self._columns)))

    def _reader(self, options: pa.ipc.IpcReadOptions | None = None) -> pa.ipc.RecordBatchStreamReader:
        self._file.seek(0)
        return pa.ipc.open_stream(self._file, options=options)


def _open(uri: str, columns: Sequence[Column], batch_rows: int, resources: ExitStack) -> _Opened:
    fs, path = filesystem.url_to_fs(uri)
    is_parquet = posixpath.splitext(path)[1][1:].lower() in PARQUET_EXTENSIONS
    if isinstance(fs, LocalFileSystem):
        file = resources.enter_context(pa.OSFile(path) if is_parquet else pa.memory_map(path))
    else:
        file = resources.enter_context(fs.open(path, "rb", block_size=_BLOCK_BYTES))
    if is_parquet:
        return _ParquetTable(file, columns, batch_rows)
    magic = bytes(file.read(len(_ARROW_FILE_MAGIC)))
    file.seek(0)
    return _ArrowFile(file, columns) if magic == _ARROW_FILE_MAGIC else _ArrowStream(file, columns)


def _check_columns(schema: pa.Schema, columns: Sequence[Column]) -> None:
    missing = [column[0] for column in columns if column[0] not in schema.names]
    if missing:
        raise DamagedTable(f"there is no column {', '.join(missing)}")


def _projection(schema: pa.Schema, columns: Sequence[Column]) -> pa.ipc.IpcReadOptions:
    _check_columns(schema, columns)
    indices = sorted({schema.get_field_index(column[0]) for column in columns})
    return pa.ipc.IpcReadOptions(included_fields=indices)


def _column(batch: pa.RecordBatch, column: Column) -> pa.Array:
    array = batch.column(column[0])
    return pc.struct_field(array, list(column[1:])) if len(column) > 1 else array


def _has_values(opened: _Opened, column: Column) -> bool:
    if isinstance(opened, _ParquetTable):
        metadata, name = opened.parquet.metadata, ".".join(column)
        chunks = (
            metadata.row_group(group).column(index)
            for group in range(metadata.num_row_groups)
            for index in range(metadata.num_columns)
        )
        statistics = [(chunk.statistics, chunk.num_values) for chunk in chunks if chunk.path_in_schema == name]
        return any(n and not (known and known.has_null_count and known.null_count == n) for known, n in statistics)
    batch = next(opened.seek(0)[1], None)
    if batch is None:
        return False
    array = _column(batch, column)
    return array.null_count < len(array)


def _damage(uri: str, error: BaseException) -> str:
    """Returns what is wrong with a file that pyarrow cannot read."""
    (beginning,) = filesystem.read_ranges([uri], [0], [len(LFS_POINTER)])
    return f"it {IS_LFS_POINTER}" if beginning == LFS_POINTER.encode() else str(error)


def _is_damage(error: BaseException) -> bool:
    """Returns whether pyarrow has raised an error about the content of a file, rather than the storage one of its own.

    pyarrow's errors without an error number, of type OSError itself, are about the content too.
    """
    if isinstance(error, pa.ArrowException | UnicodeDecodeError):
        return True
    return type(error) is OSError and error.errno is None

"""Tables that users write: CSV, TSV, JSON lines or Parquet, with the line of each row for messages."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
from pyarrow import parquet

from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.sources.official_files import dict_rows, read_official
from mulan.storage import filesystem
from mulan.storage.retries import with_retries

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_JSON_LINES = ("jsonl", "ndjson", "json")
_ROWS_AT_ONCE = 10_000


def table_rows(source: str, uri: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the rows of a table as dictionaries of the wanted columns, each with its line or row, counted from 1.

    The format is that of the extension: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``. Values of CSV and TSV files are
    strings; those of others may have any type, or be missing (None). CSV, TSV and JSON lines are read into memory as
    text; Parquet files in parts.

    Args:
        source: What the table is, for messages.
        columns: Columns that the table must have. It may have others, which are ignored.

    Raises:
        SourceError: The table does not exist, is damaged, has another format or lacks a column.
        StorageError, StoragePermanentError: The table cannot be read.
    """
    extension = uri.rpartition(".")[2].lower()
    remedy = f"give a table with the columns {', '.join(columns)}"
    if extension == "parquet":
        yield from _parquet_rows(source, uri, columns, remedy)
    elif extension in _DELIMITERS:
        text = read_official(source, uri, remedy=remedy)
        for line, row in dict_rows(source, uri, text, columns, delimiter=_DELIMITERS[extension], remedy=remedy):
            yield line, {column: row[column] for column in columns}
    elif extension in _JSON_LINES:
        yield from _json_rows(source, uri, columns, remedy)
    else:
        fault = f"{uri} has the extension of no table; write .csv, .tsv, .jsonl or .parquet"
        raise SourceError(source, [fault])


def _json_rows(source: str, uri: str, columns: Sequence[str], remedy: str) -> Iterator[tuple[int, dict[str, Any]]]:
    faults = []
    for line, written in enumerate(read_official(source, uri, remedy=remedy).split("\n"), 1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            faults.append(at_line(uri, line, "is no JSON object; write one object in each line"))
        else:
            yield line, {column: row.get(column) for column in columns}
    if faults:
        raise SourceError(source, faults)


def _parquet_rows(source: str, uri: str, columns: Sequence[str], remedy: str) -> Iterator[tuple[int, dict[str, Any]]]:
    fs, path = filesystem.url_to_fs(uri)
    try:
        with with_retries(f"{uri} cannot be read", fs.open, path, "rb") as file:
            table = parquet.ParquetFile(file)
            if missing := [column for column in columns if column not in table.schema_arrow.names]:
                raise SourceError(source, [f"{uri} lacks the columns {', '.join(missing)}; {remedy}"])
            row = 0
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                for values in batch.to_pylist():
                    row += 1
                    yield row, values
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise SourceError(source, [f"there is no file {uri}; {remedy}"]) from error
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise SourceError(source, [f"{uri} is damaged or no Parquet file: {error}; {remedy}"]) from error

"""Columns of tables that users write by hand or program: CSV, TSV, JSON lines, Parquet or Arrow files."""

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from mulan.config.parsing import parse_json
from mulan.data.errors import MAX_FAULTS
from mulan.preparation.columnar import ARROW_EXTENSIONS, PARQUET_EXTENSIONS, ColumnarReader, DamagedTable
from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.sources.official_files import dict_rows
from mulan.preparation.sources.streamed_files import lines_of, text_chunks

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_JSON_LINES = frozenset({"jsonl", "ndjson"})
_BATCH_ROWS = 1024


def column_rows(source: str, uri: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields some columns of the rows of a table, each row with its line or number, counted from 1.

    The format is that of the extension: ``.csv``, ``.tsv``, ``.jsonl``, ``.parquet`` or ``.arrow``. Values of CSV and
    TSV files are strings; those of others may have any type, or be missing (None). Files are read in pieces.

    Args:
        source: What names the table, for messages.
        uri: Path or URI of the table.
        columns: Columns that the table must have. It may have others, which are ignored.

    Raises:
        SourceError: The table does not exist, is damaged, has another format or lacks a column; after all readable
            rows, if lines are no JSON objects.
        StorageError, StoragePermanentError: The table cannot be read.
    """
    extension = posixpath.splitext(uri)[1][1:].lower()
    remedy = f"give a table with the columns {', '.join(columns)}"
    if extension in _DELIMITERS:
        lines = lines_of(text_chunks(source, uri, remedy=remedy))
        for line, row in dict_rows(source, uri, lines, columns, delimiter=_DELIMITERS[extension], remedy=remedy):
            yield line, {column: row[column] for column in columns}
    elif extension in _JSON_LINES:
        yield from _json_rows(source, uri, columns, remedy)
    elif extension in PARQUET_EXTENSIONS | ARROW_EXTENSIONS:
        try:
            yield from _columnar_rows(uri, columns)
        except FileNotFoundError as error:
            raise SourceError(source, [f"there is no file {uri}; {remedy}"]) from error
        except DamagedTable as error:
            raise SourceError(source, [f"{uri} is damaged or lacks a column: {error}; {remedy}"]) from error
    else:
        raise SourceError(source, [f"{uri} has no extension of a table: .csv, .tsv, .jsonl, .parquet or .arrow"])


def _json_rows(source: str, uri: str, columns: Sequence[str], remedy: str) -> Iterator[tuple[int, dict[str, Any]]]:
    faults, count = [], 0
    for line, written in enumerate(lines_of(text_chunks(source, uri, remedy=remedy)), 1):
        if not written.strip():
            continue
        try:
            row = parse_json(written)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield line, {column: row.get(column) for column in columns}
        else:
            count += 1
            if count <= MAX_FAULTS:
                faults.append(at_line(uri, line, "is no JSON object; write one object in each line"))
    if faults:
        raise SourceError(source, faults, count)


def _columnar_rows(uri: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with ColumnarReader(uri, [(column,) for column in columns], batch_rows=_BATCH_ROWS) as reader:
        for first, arrays in reader.batches():
            for number, values in enumerate(zip(*(array.to_pylist() for array in arrays), strict=True), first + 1):
                yield number, dict(zip(columns, values, strict=True))

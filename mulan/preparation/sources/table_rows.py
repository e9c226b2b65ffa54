"""The rows of tables: CSV, TSV, JSON lines, Parquet and Arrow files."""

import itertools
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mulan.config.parsing import parse_json
from mulan.preparation.columnar import ARROW_EXTENSIONS, PARQUET_EXTENSIONS, ColumnarReader, DamagedTable
from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.sources.columnar_rows import audio_column, audio_name, columnar_rows
from mulan.preparation.sources.official_files import csv_rows
from mulan.preparation.sources.streamed_files import lines_of, text_chunks

_DELIMITED = frozenset({"csv", "tsv"})
_JSON_LINES = frozenset({"jsonl", "ndjson"})
EXTENSIONS = _DELIMITED | _JSON_LINES | PARQUET_EXTENSIONS | ARROW_EXTENSIONS
"""Extensions of the files that are read as tables."""

_SAVE_AGAIN = "save the table again, in UTF-8 if it is a text file"

Report = Callable[[str, str], None]
"""What is called with the reason and the detail of a row that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file with a table."""

    uri: str
    """Absolute path or URI of the file."""
    name: str
    """Path of the file in its source."""
    prefix: str = ""
    """Folder, relative to that of the source, that relative paths of audio begin in."""
    split: str = ""
    """Split of rows that name none."""
    version: str = ""
    """What changes if the file does: as of :class:`mulan.preparation.found.AudioLocation`."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of a table."""

    file: TableFile
    place: str
    """File and line or row, for messages."""
    audio: Any
    """Path of the audio as the table states it, of any type; None if there is none."""
    column: str
    """Name of the column with the audio; empty if the row has none."""
    row: int | None
    """Number of the row, from 0, if the table contains the audio; None if it only names it."""
    values: dict[str, Any]
    """Values by name of the column."""


def is_table(path: str) -> bool:
    """Returns whether the name of a file has the extension of a table."""
    return _extension(path) in EXTENSIONS


def table_rows(source: str, file: TableFile, audio: str, report: Report) -> Iterator[TableRow]:
    """Yields the rows of a table.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        file: The file, whose extension is one of :data:`EXTENSIONS`.
        audio: Name of the column with the audio or its path; empty for the usual names.
        report: Called for each row that cannot be read.

    Raises:
        SourceError: The file is missing or damaged as a whole, or has no column with audio.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    extension = _extension(file.uri)
    if extension in _DELIMITED:
        yield from _delimited_rows(source, file, audio, report)
    elif extension in _JSON_LINES:
        yield from _json_rows(source, file, audio, report)
    else:
        try:
            yield from _columnar_rows(source, file, audio)
        except FileNotFoundError as error:
            raise SourceError(source, [f"there is no file {file.uri}"]) from error
        except DamagedTable as error:
            raise SourceError(source, [f"{file.uri} is damaged: {error}; get or write the file again"]) from error


def no_audio_column(source: str, uri: str, names: list[str]) -> SourceError:
    """Returns the error for a table without a column that locates the audio."""
    shown = ", ".join(sorted(names)[:20]) or "none"
    fault = f"{uri} has no column with the path of the audio; set {source.partition('=')[0]}.audio to its name"
    return SourceError(source, [f"{fault}; the columns are {shown}"])


def _extension(path: str) -> str:
    return posixpath.splitext(path)[1][1:].lower()


def _delimited_rows(source: str, file: TableFile, audio: str, report: Report) -> Iterator[TableRow]:
    lines = lines_of(text_chunks(source, file.uri, remedy=_SAVE_AGAIN))
    first = next(lines, "")
    # programs of some languages separate the columns of a CSV file by semicolons
    delimiter = "\t" if _extension(file.uri) == "tsv" else max(",;\t", key=first.count)
    rows = csv_rows(source, file.uri, itertools.chain([first], lines), delimiter=delimiter, remedy=_SAVE_AGAIN)
    _, header = next(rows)
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise SourceError(
            source, [at_line(file.uri, 1, f"several columns are named {', '.join(repeated)}; rename them")]
        )
    column = audio_name(names, audio)
    if column is None:
        raise no_audio_column(source, file.uri, names)
    for line, fields in rows:
        if len(fields) == len(names):
            values: dict[str, Any] = dict(zip(names, fields, strict=True))
            yield _named_row(file, f"{file.name}, line {line}", values, column)
        else:
            fault = f"{len(fields)} fields instead of {len(names)}"
            report("damaged row", at_line(file.name, line, fault))


def _json_rows(source: str, file: TableFile, audio: str, report: Report) -> Iterator[TableRow]:
    for line, text in enumerate(lines_of(text_chunks(source, file.uri, remedy=_SAVE_AGAIN)), 1):
        if not text.strip():
            continue
        try:
            values = parse_json(text)
        except ValueError as error:
            report("damaged row", at_line(file.name, line, f"not JSON: {error}"))
            continue
        if isinstance(values, dict):
            yield _named_row(file, f"{file.name}, line {line}", values, audio_name(list(values), audio) or "")
        else:
            report("damaged row", at_line(file.name, line, f"a {type(values).__name__}, not an object"))


def _named_row(file: TableFile, place: str, values: dict[str, Any], column: str) -> TableRow:
    path = values.pop(column, None)
    return TableRow(file=file, place=place, audio=path, column=column, row=None, values=values)


def _columnar_rows(source: str, file: TableFile, audio: str) -> Iterator[TableRow]:
    with ColumnarReader(file.uri) as reader:
        column = audio_column(reader, audio)
        if column is None:
            raise no_audio_column(source, file.uri, reader.schema.names)
    for row, values, path in columnar_rows(file.uri, column):
        yield TableRow(
            file=file,
            place=f"{file.name}, row {row}",
            audio=path,
            column=column.name,
            row=row if column.embedded else None,
            values=values,
        )

"""Reading of the text files of public data sets, whose damaged copies are named instead of being half read."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from mulan.preparation.faults import SourceError, at_line
from mulan.storage import filesystem

MAX_FIELD = 2**24
"""Maximum length in characters of a field: biographies are longer than Python's limit, but what is longer is a damaged
file, of which a quoted field never ends."""

_LFS_POINTER = "version https://git-lfs.github.com/spec/"


def read_official(source: str, uri: str, *, remedy: str) -> str:
    """Reads a text file of a data set, without its byte order mark.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file.
        remedy: Where to get the file, for messages.

    Raises:
        SourceError: There is no such file, or it is empty, is the pointer of a file that Git LFS has not fetched, is
            the target of a symbolic link that was copied as text, or is not UTF-8.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    try:
        content = filesystem.read_bytes(uri)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise SourceError(source, [f"there is no file {uri}; {remedy}"]) from error
    if not content.strip():
        raise SourceError(source, [f"{uri} is empty; {remedy}"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(
            source, [at_line(uri, line, f"not UTF-8; it was changed by another program; {remedy}")]
        ) from error
    if text.startswith(_LFS_POINTER):
        raise SourceError(
            source, [f"{uri} is the pointer of a Git LFS file, not the file; run git lfs pull, or {remedy}"]
        )
    if "\n" not in text and len(text) < 200 and text.endswith((".tsv", ".csv", ".json", ".txt")):
        raise SourceError(
            source, [f"{uri} is a symbolic link that was copied as text: name the file {text}, or {remedy}"]
        )
    return text


def csv_rows(
    source: str,
    uri: str,
    text: str | Iterable[str],
    *,
    delimiter: str = ",",
    skipinitialspace: bool = False,
    remedy: str,
) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows of a CSV or TSV file, each with the number of its first line, counted from 1; skips empty lines.

    Args:
        text: The text, or its lines.

    Raises:
        SourceError: A quoted field never ends, which means that the file is truncated or damaged.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    lines = io.StringIO(text, newline="") if isinstance(text, str) else text
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=skipinitialspace, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(source, [at_line(uri, line, f"damaged row: {error}; {remedy}")]) from error


def dict_rows(
    source: str, uri: str, text: str, columns: Sequence[str], *, delimiter: str = ",", remedy: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of a table with a header as dictionaries, each with the number of its first line.

    Args:
        columns: Columns that the header must name; it may name others.

    Raises:
        SourceError: The header lacks a column, or rows have another number of fields than it.
    """
    rows = csv_rows(source, uri, text, delimiter=delimiter, remedy=remedy)
    _, header = next(rows)
    header = [name.strip() for name in header]
    missing = [name for name in columns if name not in header]
    if missing:
        raise SourceError(source, [at_line(uri, 1, f"the header lacks {', '.join(missing)}; {remedy}")])
    for line, row in rows:
        if len(row) != len(header):
            fault = f"{len(row)} fields instead of {len(header)}: the file is truncated or damaged; {remedy}"
            raise SourceError(source, [at_line(uri, line, fault)])
        yield line, dict(zip(header, row, strict=True))

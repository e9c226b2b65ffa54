"""Reading of the text files of public data sets, whose damaged copies are named instead of being half read."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mulan.preparation.faults import SourceError, at_line
from mulan.storage.text_file import UnusableTextFile, read_text_file

MAX_FIELD = 2**24
"""Maximum length in characters of a field: biographies are longer than Python's limit, but what is longer is a damaged
file, of which a quoted field never ends."""


def read_official(source: str, uri: str, *, remedy: str) -> str:
    """Reads a text file of a data set, without its byte order mark.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file.
        remedy: Where to get the file, for messages.

    Raises:
        SourceError: There is no such file, or it is empty, is the pointer of a file that Git LFS has not fetched, is
            the target of a symbolic link that was copied as text, is a web page, or is not UTF-8.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    try:
        return read_text_file(uri, remedy=remedy)
    except UnusableTextFile as error:
        raise SourceError(source, [str(error)]) from error


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
    source: str, uri: str, text: str | Iterable[str], columns: Sequence[str], *, delimiter: str = ",", remedy: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of a table with a header as dictionaries, each with the number of its first line.

    Args:
        text: The text, or its lines.
        columns: Columns that the header must name; it may name others.

    Raises:
        SourceError: The header lacks a column or repeats one, or a row has another number of fields than it.
    """
    rows = csv_rows(source, uri, text, delimiter=delimiter, remedy=remedy)
    line, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    missing = [name for name in columns if name not in header]
    if missing:
        others = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        fault = f"the header lacks {', '.join(missing[:5])}{others}; {remedy}"
        raise SourceError(source, [at_line(uri, line, fault)])
    repeated = [name for name, count in Counter(header).items() if name and count > 1]
    if repeated:
        raise SourceError(source, [at_line(uri, line, f"the header repeats {', '.join(repeated)}; {remedy}")])
    for line, row in rows:
        if len(row) != len(header):
            fault = f"{len(row)} fields instead of {len(header)}: the file is truncated or damaged; {remedy}"
            raise SourceError(source, [at_line(uri, line, fault)])
        yield line, dict(zip(header, row, strict=True))

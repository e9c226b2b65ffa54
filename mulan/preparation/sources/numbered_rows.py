"""Reading of the small tables of public data sets whose rows have the number of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass

from mulan.preparation.faults import SourceError
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.official_files import dict_rows, read_official


@dataclass(frozen=True)
class NumberedRow:
    """A row of a table."""

    line: int
    """Line of the file, counted from 1."""
    fields: dict[str, str]
    """The fields by column, without blanks around them."""


def rows_by_number(
    source: str, uri: str, number: str, columns: Sequence[str], *, delimiter: str = ",", remedy: str
) -> dict[int, NumberedRow]:
    """Returns the rows of a table with a header by their numbers, in the order of the file.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file.
        number: Column with the number, which is unique and not negative.
        columns: Other columns that the header must name.
        delimiter: What separates the fields.
        remedy: Where to get the file, for messages.

    Raises:
        SourceError: The file cannot be read as such a table, or it has rows without a number of their own, or none.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    text = read_official(source, uri, remedy=remedy)
    rows: dict[int, NumberedRow] = {}
    damaged = DamagedLines(uri, remedy)
    for line, row in dict_rows(source, uri, text, (number, *columns), delimiter=delimiter, remedy=remedy):
        fields = {name: value.strip() for name, value in row.items()}
        value = fields[number]
        if not (value.isascii() and value.isdigit()):
            damaged.add(line, f"{number} is {value!r:.80}, not a number")
        elif int(value) in rows:
            damaged.add(line, f"{number} {value} is that of line {rows[int(value)].line}")
        else:
            rows[int(value)] = NumberedRow(line, fields)
    if not rows:
        damaged.add(1, "the table has no usable rows")
    if faults := damaged.faults():
        raise SourceError(source, faults)
    return rows

"""Tests tables whose rows have the number of a recording."""

from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.sources.numbered_rows import NumberedRow, rows_by_number


def rows(folder: Path, text: str, delimiter: str = ",") -> dict[int, NumberedRow]:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return rows_by_number("kind=path", str(path), "id", ["name"], delimiter=delimiter, remedy="get it")


def test_rows_are_found_by_number_without_blanks_around_fields(tmp_path: Path) -> None:
    found = rows(tmp_path, 'name ,id\n\t a b \t, 07\n"c\nd",3\t\n"",10\n')
    assert found == {
        7: NumberedRow(2, {"name": "a b", "id": "07"}),
        3: NumberedRow(3, {"name": "c\nd", "id": "3"}),
        10: NumberedRow(5, {"name": "", "id": "10"}),
    }
    assert list(found) == [7, 3, 10]
    assert rows(tmp_path, "id\tname\n1\ta,b\n", "\t")[1].fields["name"] == "a,b"


def test_all_rows_without_a_number_of_their_own_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as raised:
        rows(tmp_path, "id,name\n1,a\n-1,b\n1.0,c\n01,d\n,e\n²,f\n")
    file = tmp_path / "table.csv"
    assert raised.value.faults == (
        f"{file}, line 3: id is '-1', not a number; get it",
        f"{file}, line 4: id is '1.0', not a number; get it",
        f"{file}, line 5: id 01 is that of line 2; get it",
        f"{file}, line 6: id is '', not a number; get it",
        f"{file}, line 7: id is '²', not a number; get it",
    )


@pytest.mark.parametrize("text", ["number,name\n1,a\n", "id,title\n1,a\n", "id,name\n1\n", "", "id,name\n"])
def test_other_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match=r"table.csv.*; get it"):
        rows(tmp_path, text)

"""Tests the reading of the text files of public data sets, whole and damaged."""

import csv
import gzip
import itertools
import random
import re
from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.sources.official_files import csv_rows, dict_rows, read_official
from mulan.storage import filesystem
from tests.public_metadata import unpacked

REMEDY = "download it again"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943\nsize 12345\n"


def read(folder: Path, content: bytes) -> str:
    (folder / "a.csv").write_bytes(content)
    return read_official("kind=path", str(folder / "a.csv"), remedy=REMEDY)


def fault(folder: Path, content: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert message.startswith("source kind=path: ") and str(folder / "a.csv") in message and "\n" not in message
    assert message.endswith(f"; {REMEDY}")
    return message


def rows(text: str, **options: object) -> list[tuple[int, list[str]]]:
    return list(csv_rows("kind=path", "a.csv", text, remedy=REMEDY, **options))  # type: ignore[arg-type]


def tables(text: str, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    return list(dict_rows("kind=path", "a.csv", text, columns, remedy=REMEDY))


def test_a_file_is_read_from_any_storage(storage_uri: str) -> None:
    uri = filesystem.join(storage_uri, "a b.csv")
    filesystem.write_atomically(uri, "\ufeffä,1\r\n".encode())
    assert read_official("kind=path", uri, remedy=REMEDY) == "ä,1\r\n"
    with pytest.raises(SourceError, match=f"there is no file .*absent.csv; {REMEDY}"):
        read_official("kind=path", filesystem.join(storage_uri, "absent.csv"), remedy=REMEDY)
    with pytest.raises(SourceError, match="there is no file"):
        read_official("kind=path", filesystem.join(uri, "below.csv"), remedy=REMEDY)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"there is no file .*; {REMEDY}"):
        read_official("kind=path", str(tmp_path), remedy=REMEDY)


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t", "\ufeff".encode(), "\ufeff\n".encode()])
def test_an_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    assert "is empty" in fault(tmp_path, content)


def test_what_stands_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert "Git LFS" in fault(tmp_path, POINTER) and "git lfs pull" in fault(tmp_path, POINTER)
    assert "Git LFS" in fault(tmp_path, POINTER.replace(b"\n", b"\r\n"))
    assert "web page" in fault(tmp_path, b"\n<!DOCTYPE html>\n<html><body>404</body></html>\n")
    assert "web page" in fault(tmp_path, b"<HTML>\n404\n</HTML>\n")
    for end in (b"", b"\n"):
        assert "symbolic link" in fault(tmp_path, b"raw_30s_cleantags_50artists.tsv" + end)
        assert "which is ../{x}/y.csv;" in fault(tmp_path, b"../{x}/y.csv" + end)


def test_a_file_with_few_rows_is_no_link(tmp_path: Path) -> None:
    for content in (b"name\na.csv\n", b"a,b.csv,c\n", b"one line without an end"):
        assert read(tmp_path, content) == content.decode()


def test_the_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    assert "line 3: not UTF-8" in fault(tmp_path, b"a\nb\ncaf\xe9\n")
    assert "line 1: not UTF-8" in fault(tmp_path, "id,name\n".encode("utf-16"))
    assert "line 1: not UTF-8" in fault(tmp_path, gzip.compress(b"id,name\n"))
    assert "line 3: zeros" in fault(tmp_path, b"a\nb\nc\0\0\0\0")


def test_links_and_pointers_of_public_data_sets_are_recognised(tmp_path: Path) -> None:
    link = unpacked("mtg_jamendo/data/autotagging.tsv", tmp_path)
    with pytest.raises(SourceError, match=r"symbolic link .*raw_30s_cleantags_50artists\.tsv"):
        read_official("kind=path", str(link), remedy=REMEDY)
    folder = unpacked("fma/damaged_copies/lfs_pointer", tmp_path)
    assert len(list(folder.iterdir())) == 3
    for path in folder.iterdir():
        with pytest.raises(SourceError, match="Git LFS"):
            read_official("kind=path", str(path), remedy=REMEDY)


def test_rows_have_the_numbers_of_their_lines() -> None:
    text = 'id,text\r\n1,"two\r\nlines, ""x"""\r\n\r\n2,b\n3,c'
    assert rows(text) == [(1, ["id", "text"]), (2, ["1", 'two\r\nlines, "x"']), (5, ["2", "b"]), (6, ["3", "c"])]
    assert rows("a\rb\rc") == [(1, ["a"]), (2, ["b"]), (3, ["c"])]
    assert rows("a, b\tc\n", delimiter="\t") == [(1, ["a, b", "c"])]
    assert rows('a, "b, c"\n', skipinitialspace=True) == [(1, ["a", "b, c"])]
    assert rows("") == []


_ENDS = re.compile(r"\r\n|\r|\n")


def text_rows(table: list[list[str]], end: str) -> list[str]:
    return [",".join('"' + field.replace('"', '""') + '"' for field in row) + end for row in table]


def test_rows_are_those_that_were_written() -> None:
    draw = random.Random(0)
    table = [["".join(draw.choices('ab,"\n\r\tä ', k=5)) + "." for _ in range(3)] for _ in range(500)]
    for end in ("\n", "\r\n"):
        found = rows("".join(text_rows(table, end)))
        assert [row for _, row in found] == table
        starts = list(itertools.accumulate((len(_ENDS.findall(line)) for line in text_rows(table, end)), initial=1))
        assert [line for line, _ in found] == starts[:-1]


def test_long_fields_are_read() -> None:
    assert rows('1,"' + "x" * 200_000 + '"\n') == [(1, ["1", "x" * 200_000])]


@pytest.mark.parametrize("text", ['1,a\n2,"cut', '1,a\n2,"x"y\n', '1,a\n2,"' + "x\n" * 100_000])
def test_a_damaged_row_is_named_by_its_first_line(text: str) -> None:
    with pytest.raises(SourceError, match=rf"source kind=path: a\.csv, line 2: damaged row: .*; {REMEDY}"):
        rows(text)


def test_a_table_is_read_by_the_names_of_its_columns() -> None:
    assert tables(" b ,a,c\n1,2,3\n\n4,5,6\n", ["a", "b"]) == [
        (2, {"b": "1", "a": "2", "c": "3"}),
        (4, {"b": "4", "a": "5", "c": "6"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1;2\n", "line 1: the header lacks a, b"),
        ("\na,c\n1,2\n", "line 2: the header lacks b"),
        ("", "line 1: the header lacks a, b"),
        ("a,b,a\n1,2,3\n", "line 1: the header repeats a"),
        ("a,b\n1,2\n3\n", "line 3: 1 fields instead of 2"),
        ('a,b\n1,"2\n3"\n3,4,5\n', "line 4: 3 fields instead of 2"),
    ],
)
def test_a_table_with_another_shape_is_refused(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=rf"source kind=path: a\.csv, {message}.*; {REMEDY}"):
        tables(text, ["a", "b"])


def test_empty_names_of_columns_may_be_repeated() -> None:
    assert [row["a"] for _, row in tables("a,,\n1,,\n", ["a"])] == ["1"]


def test_a_large_official_table_is_read_as_the_plain_reader_does(tmp_path: Path) -> None:
    path = unpacked("musiccaps/musiccaps-public.csv", tmp_path)
    text = read_official("kind=path", str(path), remedy=REMEDY)
    found = list(dict_rows("kind=path", str(path), text, ["ytid", "caption"], remedy=REMEDY))
    with path.open(encoding="utf-8", newline="") as file:
        assert [row for _, row in found] == list(csv.DictReader(file))
    assert len(found) == 5521

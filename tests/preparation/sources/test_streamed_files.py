"""Tests that files which are read in pieces give what they give as a whole, wherever the pieces end."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.sources.official_files import csv_rows
from mulan.preparation.sources.streamed_files import MAX_ENTRY, json_entries, lines_of, text_chunks

TEXT = '﻿né,"a\nb"\r\nπ🎵\u2028,x\n\nlast,line'

OBJECT = {
    "first": {"list": [1, 2.5, [], {}], "text": 'quote " brace } comma , \\ é🎵', "none": None},
    "": 12345,
    "third": True,
    "fourth": "",
    "first ": [],
    "long": "x" * 50,
}


def written(folder: Path, content: str | bytes) -> str:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def chunks(uri: str, size: int) -> list[str]:
    return list(text_chunks("kind=path", uri, remedy="get it", chunk_bytes=size))


def entries(uri: str, size: int = 7) -> list[tuple[int, str, Any]]:
    return list(json_entries("kind=path", uri, remedy="get it", chunk_bytes=size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_pieces_are_the_text_without_its_byte_order_mark(tmp_path: Path, size: int) -> None:
    uri = written(tmp_path, TEXT)
    assert "".join(chunks(uri, size)) == TEXT[1:]
    assert (len(chunks(uri, size)) == 1) == (size == 1000)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_lines_end_with_line_feeds_only(tmp_path: Path, size: int) -> None:
    lines = list(lines_of(chunks(written(tmp_path, TEXT), size)))
    assert lines == ['né,"a\n', 'b"\r\n', "π🎵\u2028,x\n", "\n", "last,line"]
    rows = list(csv_rows("kind=path", "uri", lines, remedy="get it"))
    assert rows == [(1, ["né", "a\nb"]), (3, ["π🎵\u2028", "x"]), (5, ["last", "line"])]


def test_a_text_that_ends_with_a_line_feed_has_no_empty_last_line() -> None:
    assert list(lines_of(["a", "\nb", "\n"])) == ["a\n", "b\n"]
    assert list(lines_of([])) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("absent", "file/below"):
        written(tmp_path, "text")
        with pytest.raises(SourceError, match=f"kind=path: there is no file .*/{name}; get it"):
            chunks(str(tmp_path / name), 10)


@pytest.mark.parametrize("size", [3, 5, 10_000])
@pytest.mark.parametrize(("content", "fault"), [(b"a\nb\n\xff\n", "not UTF-8"), (b"ab\ncd\ne\0f\ng", "zeros")])
def test_damaged_text_is_named_with_its_line(tmp_path: Path, size: int, content: bytes, fault: str) -> None:
    with pytest.raises(SourceError, match=rf"/file, line 3: {fault}.*; get it"):
        chunks(written(tmp_path, content), size)


def test_a_character_that_the_end_cuts_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"line 2: not UTF-8"):
        chunks(written(tmp_path, "abc\ndé".encode()[:-1]), 4)


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_entries_are_those_of_the_whole_json(tmp_path: Path, size: int, indent: int | None) -> None:
    text = json.dumps(OBJECT, indent=indent, ensure_ascii=False)
    found = entries(written(tmp_path, text), size)
    assert {name: value for _, name, value in found} == OBJECT
    assert [name for _, name, _ in found] == list(OBJECT)
    lines = text.split("\n")
    assert all(json.dumps(name, ensure_ascii=False) in lines[line - 1] for line, name, _ in found)
    assert indent is None or len({line for line, _, _ in found}) == len(OBJECT)


def test_an_empty_object_has_no_entries(tmp_path: Path) -> None:
    assert entries(written(tmp_path, " {\n} \n"), 1) == []


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_truncated_json_is_refused(tmp_path: Path, size: int) -> None:
    text = json.dumps({"a": {"b": [1, "c"]}, "d": 12}, indent=1)
    for length in range(1, len(text)):
        if text[:length].strip():
            with pytest.raises(SourceError, match=r"/file, line \d+: truncated or damaged JSON: .*; get it"):
                entries(written(tmp_path, text[:length]), size)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"a": 1}]', 1),
        ('{"a": 1\n "b": 2}', 2),
        ('{"a": 1,\n\n}', 3),
        ('{1: "a"}', 1),
        ('{"a":\n 1}\n{"b": 2}', 3),
        ('{"a": {"b": nope}}', 1),
        ('{"a": ' + "[" * 100_000, 1),
    ],
)
def test_other_json_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    for size in (1_000, 1_000_000):
        with pytest.raises(SourceError, match=rf"/file, line {line}: truncated or damaged JSON"):
            entries(written(tmp_path, text), size)


def test_what_precedes_a_fault_is_yielded(tmp_path: Path) -> None:
    found = json_entries("kind=path", written(tmp_path, '{"a": 1, "b": 2, "c'), remedy="get it")
    assert [next(found), next(found)] == [(1, "a", 1), (1, "b", 2)]
    with pytest.raises(SourceError, match="truncated"):
        next(found)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rng = random.Random(0)
    entry = {f"{number:06d}": "".join(rng.choices("abc\n", k=1000)) for number in range(2000)}
    uri = written(tmp_path, json.dumps(entry))
    tracemalloc.start()
    count = sum(1 for _ in json_entries("kind=path", uri, remedy="get it", chunk_bytes=2**16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 2000
    assert peak < 2**19 < Path(uri).stat().st_size / 4


def test_a_damaged_entry_is_not_searched_for_in_the_whole_file(tmp_path: Path) -> None:
    uri = written(tmp_path, '{"a": "' + "x" * (4 * MAX_ENTRY))  # a string that never ends
    tracemalloc.start()
    with pytest.raises(SourceError, match="line 1: truncated or damaged JSON"):
        entries(uri, MAX_ENTRY // 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_ENTRY

"""Tests the rows of tables through the recordings that they give; see test_columnar_rows.py for Parquet and Arrow."""

import json
from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from tests.preparation.tables import found_in_table, write_audio, write_files

ROWS = [
    {
        "path": f"{index % 7}.wav",
        "caption": f"Text {index // 2}.",
        "tag": ["x", "y", "z"][index % 3],
        "title": f"T{index % 7}",
    }
    for index in range(40)
]


def as_text(kind: str) -> str:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in ROWS)
    separator = {"csv": ",", "tsv": "\t", "semicolons.csv": ";"}[kind]
    return "".join(separator.join(row) + "\r\n" for row in [list(ROWS[0]), *(list(row.values()) for row in ROWS)])


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "semicolons.csv"])
def test_rows_with_one_path_are_one_recording(kind: str, tmp_path: Path) -> None:
    write_audio(tmp_path, [f"{index}.wav" for index in range(7)])
    write_files(tmp_path, {f"table.{kind}": "\N{BYTE ORDER MARK}" + as_text(kind)})
    recordings, faults = found_in_table(tmp_path / f"table.{kind}")
    expected = {}
    for index in range(7):  # naively
        own = [row for row in ROWS if row["path"] == f"{index}.wav"]
        captions = list(dict.fromkeys(row["caption"] for row in own))
        expected[str(index)] = captions, {f"tag:{row['tag']}" for row in own}, [f"T{index}"]
    assert {
        each.recording_id: (list(each.texts["long_form"]), set(each.tags), list(each.texts["short_form"]))
        for each in recordings
    } == expected
    assert len(recordings) == 7
    assert faults.left_out == 0


def test_lines_that_are_not_objects_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    lines = [
        '{"audio": {"path": "a.wav"}, "caption": ["One.", "Two."]}',
        "[1]",
        '{"audio": 3}',
        '{"audio": "a.w',
        "[" * 100_000,
    ]
    write_files(tmp_path, {"table.jsonl": "\n\n".join(lines)})
    recordings, faults = found_in_table(tmp_path / "table.jsonl")
    assert [each.texts for each in recordings] == [{"long_form": ("One.", "Two.")}]
    assert faults.counts == {"damaged row": 3, "no audio path": 1}
    assert faults.named["damaged row"][0] == "table.jsonl, line 3: a list, not an object"
    assert faults.named["damaged row"][1].startswith("table.jsonl, line 7: not JSON: ")
    assert faults.named["no audio path"] == ["table.jsonl, line 5: the path of the audio is 3"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            "name,caption\na,b\n",
            "has no column with the path of the audio; set table.audio to its name; the columns are",
        ),
        ("path\n", "has no rows that can be read"),
        ("path,a,a\nx,y,z\n", "line 1: several columns are named a; rename them"),
        ('path,a\nx,"y\n', "line 2: damaged row: unexpected end of data"),
        (b"path\n\xff\xfe\n", "line 2: not UTF-8"),
        ("path,a\n".encode("utf-16"), "line 1: not UTF-8"),
        (b"", "is empty"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(content: str | bytes, fault: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"table.csv": content})
    with pytest.raises(SourceError) as caught:
        found_in_table(tmp_path / "table.csv")
    assert str(caught.value).startswith(f"source table={tmp_path}/table.csv: {tmp_path}/table.csv")
    assert fault in str(caught.value)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"table.parquet": b"PAR1" + bytes(100)})
    with pytest.raises(SourceError, match=r"table\.parquet is damaged: "):
        found_in_table(tmp_path / "table.parquet")


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"
    write_files(tmp_path, {"table.parquet": pointer})
    with pytest.raises(SourceError, match=r"table\.parquet is damaged: .* pointer of a Git LFS file, .*git lfs pull"):
        found_in_table(tmp_path / "table.parquet")

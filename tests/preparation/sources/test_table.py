"""Tests tables of every kind as sources."""

from pathlib import Path

import pytest

from mulan.preparation.faults import SourceError
from mulan.preparation.locations import read_audio
from mulan.storage import filesystem
from tests.preparation.tables import audio_table, found_in_table, write_audio, write_files, write_table


def test_a_table_of_paths(tmp_path: Path, storage_uri: str) -> None:
    write_audio(storage_uri, ["sub/a.mp3", "b.flac"])
    text = 'path,caption,genre,split\nsub/a.mp3,A harp.,folk,train\n./b.flac,"Two\nlines.",,test\n'
    write_files(storage_uri, {"table.csv": text})
    recordings, faults = found_in_table(f"{storage_uri}/table.csv", licence="CC0", provenance="own")
    assert [(each.recording_id, each.texts, each.tags, each.split) for each in recordings] == [
        ("sub/a", {"long_form": ("A harp.",)}, ("genre:folk",), "train"),
        ("b", {"long_form": ("Two\nlines.",)}, (), "test"),
    ]
    assert [(each.licence, each.provenance) for each in recordings] == [("CC0", "own")] * 2
    assert [filesystem.read_bytes(each.audio.uri) for each in recordings] == [b"audio of sub/a.mp3", b"audio of b.flac"]
    assert all(each.audio.version for each in recordings)
    assert faults.left_out == 0


def test_missing_tables_and_folders_are_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"table.csv": "path\na.wav\n", "folder/readme.md": "x"})
    for name in ("none.csv", "none", "folder", "folder/readme.md"):
        with pytest.raises(SourceError, match=f"{name} is no table, and no folder of tables"):
            found_in_table(tmp_path / name)
    with pytest.raises(SourceError, match=r"there is no folder .*/none with audio; set table\.audio_folder"):
        found_in_table(tmp_path / "table.csv", audio_folder=f"{tmp_path}/none")


def test_a_local_file_is_read_where_it_is(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    write_files(tmp_path, {"table.csv": "path\na.wav\n"})
    (recording,), _ = found_in_table(tmp_path / "table.csv")
    assert read_audio(recording.audio) == f"{tmp_path}/a.wav"


def test_a_folder_of_parquet_files_with_audio(tmp_path: Path) -> None:
    contents: list[bytes | None] = [b"first", b"second", b"third"]
    for name in ("b", "a"):
        table = audio_table([name.encode() + content for content in contents if content], caption=["x", "y", None])
        write_table(table, tmp_path / "sub", "parquet", rows=2, name=name)
    recordings, faults = found_in_table(tmp_path)
    # their files have equal names, so that the ids are the rows
    assert [each.recording_id for each in recordings] == [f"sub/{name}-{row:06d}" for name in "ab" for row in range(3)]
    assert [read_audio(each.audio) for each in recordings] == [
        b"afirst", b"asecond", b"athird", b"bfirst", b"bsecond", b"bthird",
    ]  # fmt: skip
    assert [each.texts for each in recordings][:3] == [{"long_form": ("x",)}, {"long_form": ("y",)}, {}]
    assert faults.left_out == 0


def test_the_tables_of_a_corpus_in_the_folder_are_not_read(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    names = ["index.parquet", "preparation/settings.json", "preparation/recordings.parquet"]
    write_files(tmp_path, {"table.csv": "path,caption\na.wav,A harp.\n"})
    for folder in (tmp_path, tmp_path / "corpus"):
        write_files(folder, dict.fromkeys(names, "not read"))
    recordings, faults = found_in_table(tmp_path)
    assert [each.recording_id for each in recordings] == ["a"]
    assert faults.left_out == 0

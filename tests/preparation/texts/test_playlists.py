"""Tests the titles of playlists: how recordings are found, and the faults of tables."""

from pathlib import Path

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from mulan.preparation.faults import SourceError
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.texts.playlists import PlaylistTitles


def recording(recording_id: str, uri: str = "/elsewhere/x.mp3", **location: int) -> FoundRecording:
    return FoundRecording(recording_id=recording_id, audio=AudioLocation(uri=uri, **location))


def test_recordings_are_found_by_id_and_by_path(tmp_path: Path) -> None:
    table = tmp_path / "playlists.csv"
    table.write_text(
        "playlist,recording\n"
        "Latin workout,id-1\n"
        "Sleep,audio/a.mp3\n"
        "Sleep,id-1\n"
        f"Focus,{tmp_path}/audio/a.mp3\n"
        "Numbers,17\n"
    )
    titles = PlaylistTitles.load(str(table))
    assert titles.of(recording("id-1")) == ["Latin workout", "Sleep"]
    assert titles.of(recording("17")) == ["Numbers"]
    assert titles.of(recording("id-2")) == []
    in_folder = f"{tmp_path}/audio/a.mp3"
    assert titles.of(recording("id-2", in_folder)) == ["Focus", "Sleep"]
    assert titles.of(recording("id-1", in_folder)) == ["Latin workout", "Sleep", "Focus", "Sleep"]
    assert titles.of(recording("id-2", in_folder, row=3)) == []
    assert titles.of(recording("id-2", in_folder, offset=512, length=9)) == []
    assert titles.of(recording("id-2", f"{tmp_path}2/audio/a.mp3")) == []


def test_equal_titles_are_held_once(tmp_path: Path) -> None:
    table = tmp_path / "playlists.jsonl"
    table.write_text("".join(f'{{"playlist": "Sleep well", "recording": {number}}}\n' for number in range(5)))
    titles = PlaylistTitles.load(str(table))
    assert len({id(titles.of(recording(str(number)))[0]) for number in range(5)}) == 1


def test_tables_are_read_from_other_storage() -> None:
    folder = "memory://playlists-of-a-test"
    with fsspec.open(f"{folder}/table.parquet", "wb") as file:
        parquet.write_table(pyarrow.table({"playlist": ["Sleep", "Focus"], "recording": ["a/b.mp3", "id"]}), file)
    titles = PlaylistTitles.load(f"{folder}/table.parquet")
    assert titles.of(recording("id")) == ["Focus"]
    assert titles.of(recording("x", f"{folder}/a/b.mp3")) == ["Sleep"]


def test_incomplete_rows_are_all_counted(tmp_path: Path) -> None:
    table = tmp_path / "playlists.csv"
    table.write_text("playlist,recording\n" + "Sleep,a\n,b\nFocus, \n" * 30)
    with pytest.raises(SourceError) as raised:
        PlaylistTitles.load(str(table))
    assert raised.value.count == 60
    assert (
        raised.value.faults[0] == f"{table}, line 3: lacks the title of a playlist or the recording; complete the row"
    )
    assert str(raised.value).startswith(f"source text.playlists={table} has 60 faults:\n")


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "playlists.csv"
    table.write_text("playlist,recording\n")
    with pytest.raises(SourceError, match="has no rows"):
        PlaylistTitles.load(str(table))

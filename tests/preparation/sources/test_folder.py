"""Tests folders of audio files; the tags of formats are tested in test_file_tags.py."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.locations import read_audio
from mulan.preparation.sources.folder import MAX_SIDECAR_BYTES, FolderConfig, FolderSource, names_of
from mulan.storage import filesystem
from tests.preparation.tables import write_audio, write_files
from tests.preparation.tagged_audio import write_tagged


def found(folder: str | Path, **settings: Any) -> tuple[list[FoundRecording], Faults]:
    faults, source = Faults(), FolderSource(str(folder), FolderConfig().replace(settings))
    recordings = list(source.recordings(faults))
    assert list(source.recordings(Faults())) == recordings  # it can be called again
    return recordings, faults


def test_tags_and_names_are_texts(tmp_path: Path, storage_uri: str) -> None:
    tags = {"title": "Evening", "artist": "Ada", "album": "Nights", "genre": "Jazz/Bossa Nova", "comment": "A harp."}
    write_tagged(tmp_path / "b.mp3", tags)
    write_tagged(tmp_path / "b.m4a", {})
    files = {"Ada/Nights/01 - Evening.mp3": "b.mp3", "02_Slow_morning.m4a": "b.m4a", "0003.m4a": "b.m4a"}
    write_files(storage_uri, {name: (tmp_path / file).read_bytes() for name, file in files.items()})
    write_files(
        storage_uri, {"cover.jpg": b"picture", ".hidden.mp3": b"x", "Ada/notes.txt": "Not beside an audio file."}
    )
    recordings, faults = found(storage_uri, licence="CC0", provenance="own", split="test")
    assert [each.recording_id for each in recordings] == ["0003", "02_Slow_morning", "Ada/Nights/01 - Evening"]
    untitled, named, tagged = recordings
    assert tagged.texts == {"short_form": ("Evening", "jazz", "bossa nova"), "long_form": ("A harp.",)}
    assert tagged.tags == ("genre:jazz", "genre:bossa nova")
    assert (tagged.title, tagged.artist, tagged.channel) == ("Evening", "Ada", "Nights")
    assert (named.texts, named.title) == ({"short_form": ("Slow morning",)}, "Slow morning")
    assert (untitled.texts, untitled.title) == ({}, "")
    assert {(each.licence, each.provenance, each.split) for each in recordings} == {("CC0", "own", "test")}
    content = read_audio(tagged.audio)
    assert (content if isinstance(content, bytes) else Path(content).read_bytes()) == (tmp_path / "b.mp3").read_bytes()
    assert all(each.audio.version for each in recordings)
    assert faults.left_out == 0


def test_many_remote_files_are_read_in_order(tmp_path: Path) -> None:
    uri = f"memory://folder-{os.getpid()}-many"
    for index in range(40):
        write_tagged(tmp_path / "a.flac", {"title": f"Title {index}"})
        write_files(uri, {f"{index:02d}.flac": (tmp_path / "a.flac").read_bytes()})
    recordings, _ = found(uri)
    assert [(each.recording_id, each.title) for each in recordings] == [(f"{i:02d}", f"Title {i}") for i in range(40)]
    filesystem.remove_folder(uri)


def test_files_that_cannot_be_decoded_are_left_to_the_decoder(tmp_path: Path) -> None:
    write_files(tmp_path, {"empty song.mp3": b"", "broken song.flac": b"fLaC" + bytes(50), "text.wav": "no audio"})
    recordings, faults = found(tmp_path)
    assert [each.title for each in recordings] == ["broken song", "empty song", "text"]
    assert faults.left_out == 0


def test_equal_names_keep_their_extensions() -> None:
    paths = ["a/b.mp3", "b.flac", "b.mp3", "c.mp3", "c.mp3.wav", "d.e.f.ogg"]
    assert list(names_of(paths).values()) == ["a/b", "b.flac", "b.mp3", "c", "c.mp3.wav", "d.e.f"]


def test_files_beside_the_audio_describe_it(tmp_path: Path) -> None:
    write_tagged(
        tmp_path / "a.mp3", {"title": "Tagged", "artist": "Tagged", "genre": "Jazz", "comment": "First.\nSecond."}
    )
    metadata = {
        "title": "Stated",
        "texts": {"long_form": ["A harp."], "playlist": ["Quiet"]},
        "tags": ["mood:calm", "genre:jazz"],
        "split": "val",
        "licence": "CC BY",
        "start_s": 3,
    }
    write_files(tmp_path, {"a.json": json.dumps(metadata), "a.txt": "\ufeffOne line.\r\n\n  Another. \n"})
    (recording,), faults = found(tmp_path, split="test", licence="CC0")
    assert recording.texts == {
        "short_form": ("Stated", "jazz"),
        "long_form": ("A harp.", "One line.", "Another.", "First.\nSecond."),
        "playlist": ("Quiet",),
    }
    assert recording.tags == ("mood:calm", "genre:jazz")
    assert (recording.title, recording.artist, recording.split) == ("Stated", "Tagged", "validation")
    assert (recording.licence, recording.start_s, recording.end_s) == ("CC BY", 3.0, None)
    assert faults.left_out == 0


def test_damaged_files_beside_the_audio_are_named(tmp_path: Path) -> None:
    names = [f"{letter}.wav" for letter in "abcdefgh"]
    write_audio(tmp_path, names)
    files: dict[str, str | bytes] = {
        "a.json": "{",
        "b.json": "[1]",
        "c.json": '{"split": "holdout"}',
        "d.json": '{"texts": {"longform": ["x"]}}',
        "e.txt": b"\xff",
        "f.json": "[" * 100_000,
        "g.txt": "x" * (MAX_SIDECAR_BYTES + 1),
    }
    write_files(tmp_path, files)
    recordings, faults = found(tmp_path)
    assert [each.recording_id for each in recordings] == ["h"]
    assert faults.counts == {"damaged sidecar": 5, "unknown split": 1, "unknown text source": 1}
    assert faults.named["damaged sidecar"][0].startswith("a.wav: a.json is not JSON: ")
    assert faults.named["damaged sidecar"][1:3] == [
        "b.wav: b.json is a list, not an object",
        "e.wav: e.txt is not UTF-8",
    ]
    assert faults.named["unknown split"][0].startswith("c.wav: split is 'holdout'")


def test_names_that_are_not_unicode_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    (tmp_path / os.fsdecode(b"\xff.wav")).write_bytes(b"x")
    recordings, faults = found(tmp_path)
    assert [each.recording_id for each in recordings] == ["a"]
    assert faults.named == {"name not Unicode": ["'\\udcff.wav'; rename the file or its folder"]}


def test_folders_without_audio_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "x"})
    with pytest.raises(SourceError, match="contains no audio files; name another folder"):
        found(tmp_path)
    for missing in (tmp_path / "none", tmp_path / "a.txt"):
        with pytest.raises(SourceError, match="there is no folder"):
            found(missing)

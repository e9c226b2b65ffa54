"""Tests the listing of audio files and the search for one of them."""

import unicodedata
from pathlib import Path

import pytest

from mulan.preparation.audio_files import AudioFiles, is_audio
from mulan.storage import filesystem

NAMES = [
    "82/382.low.mp3",
    "82/382.ogg",
    "82/382.wav",
    "a.b/c.d.FLAC",
    "copies/82/382.mp3",
    "deep/er/f/song.mp3",
    "song.m4a",
]


@pytest.fixture
def files(storage_uri: str) -> AudioFiles:
    for name in [*NAMES, "cover.jpg", "notes.txt", "no_extension", ".hidden.mp3"]:
        filesystem.write_atomically(filesystem.join(storage_uri, name), name.encode())
    return AudioFiles.below(storage_uri)


def content(files: AudioFiles, path: str, *, anywhere: bool = False) -> str | None:
    found = files.find_anywhere(path) if anywhere else files.find(path)
    return None if found is None else filesystem.read_bytes(found.uri).decode()


def test_the_audio_files_below_a_folder_are_listed(files: AudioFiles) -> None:
    assert list(files) == NAMES
    assert len(files) == len(NAMES)
    location = files.location("song.m4a")
    assert filesystem.read_bytes(location.uri) == b"song.m4a"
    assert (location.offset, location.length, location.row) == (0, None, None)
    assert location.version == files.versions["song.m4a"] != ""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("82/382.wav", "82/382.wav"),
        ("82/382.mp3", "82/382.ogg"),  # another format, the first one
        ("./82//382.wav", "82/382.wav"),
        ("song.mp3", "song.m4a"),
        ("a.b/c.d.flac", "a.b/c.d.FLAC"),
        ("a.b/c.mp3", None),
        ("382.wav", None),
        ("f/song.mp3", None),
        ("../song.m4a", None),
        ("/song.m4a", None),
        ("", None),
    ],
)
def test_a_file_is_found_by_its_path_or_in_another_format(files: AudioFiles, path: str, found: str | None) -> None:
    assert content(files, path) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("82/382.mp3", "copies/82/382.mp3"),  # the same format is preferred
        ("82/382.wav", "82/382.wav"),
        ("82/382.flac", "82/382.ogg"),
        ("82/382.low.mp3", "82/382.low.mp3"),
        ("382.mp3", "copies/82/382.mp3"),
        ("f/song.mp3", "deep/er/f/song.mp3"),
        ("er/f/song.wav", "deep/er/f/song.mp3"),
        ("song.mp3", "deep/er/f/song.mp3"),
        ("r/f/song.mp3", None),  # no part of a folder's name
        ("x/deep/er/f/song.mp3", None),
        ("ong.mp3", None),
        ("../song.m4a", None),
    ],
)
def test_a_file_is_found_in_any_folder_by_the_end_of_its_path(files: AudioFiles, path: str, found: str | None) -> None:
    assert content(files, path, anywhere=True) == found


def test_accents_may_be_composed_or_not(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "Café/Élan.mp3") for form in ("NFC", "NFD"))
    assert composed != apart
    (tmp_path / apart).parent.mkdir()
    (tmp_path / apart).write_bytes(b"")
    files = AudioFiles.below(str(tmp_path))
    expected = files.location(apart)
    assert files.find(composed) == files.find(apart) == expected
    assert files.find_anywhere(unicodedata.normalize("NFC", "Élan.mp3")) == expected


def test_files_are_audio_by_their_extension() -> None:
    assert all(is_audio(name) for name in ("a.mp3", "a/b.WAV", "a.low.mp3", "x.Flac"))
    assert not any(is_audio(name) for name in ("a.txt", "mp3", "a.mp3/b", "a.mp3.part", ".mp3", "a."))

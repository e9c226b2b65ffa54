"""Tests the importer of GTZAN: the lists in it against other copies, layouts of the recordings, and damaged lists."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from torchaudio.datasets import gtzan as peer

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.gtzan import GENRES, GtzanConfig, GtzanSource, published_excerpts
from mulan.preparation.sources.registry import KINDS
from mulan.storage import filesystem
from tests.public_metadata import expected_counts, unpacked

PEERS = {"train": peer.filtered_train, "validation": peer.filtered_valid, "test": peer.filtered_test}
LISTS = {
    "train": ["blues.00029", "rock.00099"],
    "valid": ["jazz.00002"],
    "test": ["pop.00000", "hiphop.00007"],  # hiphop.00007 is for training in the published lists
}


def written(uri: str, files: list[str]) -> str:
    for path in files:
        filesystem.write_atomically(filesystem.join(uri, path), b"")
    return uri


def with_lists(folder: Path, lists: dict[str, list[str]] = LISTS) -> str:
    for name, excerpts in lists.items():
        lines = "".join(f"{excerpt.partition('.')[0]}/{excerpt}.wav\n" for excerpt in excerpts)
        (folder / f"{name}_filtered.txt").write_text(lines)
    return str(folder)


def read(uri: str, lists: str = "") -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    return list(GtzanSource(uri, GtzanConfig(lists=lists)).recordings(faults)), faults


def names(split: str) -> list[str]:
    return [excerpt.name for excerpt in published_excerpts() if excerpt.split == split]


def test_the_lists_are_those_of_another_library() -> None:
    assert {split: set(names(split)) for split in PEERS} == {split: set(listed) for split, listed in PEERS.items()}
    assert [len(names(split)) for split in PEERS] == [443, 197, 290]
    assert len({excerpt.name for excerpt in published_excerpts()}) == 930
    assert list(GENRES) == peer.gtzan_genres


@pytest.mark.parametrize(
    "layout",
    ["genres/{genre}/{name}.wav", "{genre}/{name}.au", "Data/genres_original/{genre}/{name}.wav", "{name}.mp3"],
)
def test_the_official_layouts_are_read(storage_uri: str, layout: str) -> None:
    present = [
        *peer.filtered_train[:3],
        "jazz.00054",
        *peer.filtered_valid[-2:],
        *peer.filtered_test[5:7],
        "hiphop.00001",
    ]
    assert "hiphop.00001" not in {excerpt.name for excerpt in published_excerpts()}
    files = [layout.format(genre=name.partition(".")[0], name=name) for name in present]
    found, faults = read(written(storage_uri, [*files, "Data/images_original/blues/blues00000.png", "features.csv"]))
    assert {recording.recording_id for recording in found} == set(present) - {"hiphop.00001"}
    assert faults.counts == {"missing audio": 930 - 8}
    for recording in found:
        genre = recording.recording_id.partition(".")[0]
        assert recording.recording_id in PEERS[recording.split] and recording.tags == (f"genre:{genre}",)
        assert recording.audio.uri == filesystem.join(
            storage_uri, layout.format(genre=genre, name=recording.recording_id)
        )


def test_the_source_is_registered_with_its_settings(tmp_path: Path) -> None:
    source = KINDS["gtzan"](written(str(tmp_path), ["blues/blues.00029.wav"]), PreparationConfig().gtzan)
    faults = Faults()
    assert [one.recording_id for one in source.recordings(faults)] == ["blues.00029"]
    assert [one.recording_id for one in source.recordings(Faults())] == ["blues.00029"]
    assert faults.named["missing audio"][0] == f"blues.00030: there is no {tmp_path}/genres/blues/blues.00030.wav"


def test_lists_beside_the_recordings_are_used(tmp_path: Path) -> None:
    files = [f"genres/{name.partition('.')[0]}/{name}.wav" for listed in LISTS.values() for name in listed]
    uri = written(with_lists(tmp_path), files)
    found, faults = read(uri)
    assert [(one.recording_id, one.split) for one in found] == [
        ("blues.00029", "train"),
        ("rock.00099", "train"),
        ("jazz.00002", "validation"),
        ("pop.00000", "test"),
        ("hiphop.00007", "test"),
    ]
    assert faults.left_out == 0
    (tmp_path / "valid_filtered.txt").rename(tmp_path / "val_filtered.txt")
    assert read(uri)[0] == found


def test_lists_of_another_folder_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    with_lists(tmp_path / "lists")
    uri = written(str(tmp_path / "music"), ["hiphop.00007.au"])
    for lists in (str(tmp_path / "lists"), "lists"):
        monkeypatch.chdir(tmp_path)
        assert [(one.recording_id, one.split) for one in read(uri, lists)[0]] == [("hiphop.00007", "test")]


def fault(uri: str, lists: str = "") -> str:
    with pytest.raises(SourceError) as caught:
        read(uri, lists)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-5], "line 2: 'rock/rock.00099' is not like .*truncated"),
        (lambda text: text[:-1], None),
        (lambda text: "\ufeff" + text.replace("\n", "\r\n") + "\n", None),
        (lambda text: text.replace("blues/", "./blues/").replace("rock/", ""), None),
        (lambda text: text.replace("blues/", "rock/"), "line 1: GTZAN has no rock/blues.00029.wav"),
        (lambda text: text.replace("blues", "polka"), "line 1: GTZAN has no polka/polka.00029.wav"),
        (lambda text: text.replace("00099", "00100"), "line 2: GTZAN has no rock/rock.00100.wav"),
        (lambda text: text.replace("rock/", "../"), "line 2: '../rock.00099.wav' is not like"),
        (lambda text: text + text, "has 2 faults:\n.*line 3: blues.00029 is listed before, in train"),
        (
            lambda text: text + "jazz/jazz.00002.wav\n",
            "valid_filtered.txt, line 1: jazz.00002 is listed before, in train",
        ),
        (lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (lambda text: "\n", "is empty"),
    ],
)
def test_damaged_lists_are_named(tmp_path: Path, change: Callable[[str], str], message: str | None) -> None:
    uri = written(with_lists(tmp_path), ["blues/blues.00029.wav", "rock/rock.00099.wav"])
    path = tmp_path / "train_filtered.txt"
    path.write_bytes(change(path.read_text()).encode())
    if message is None:
        assert [one.recording_id for one in read(uri)[0]] == ["blues.00029", "rock.00099"]
        return
    found = fault(uri)
    assert re.search(message, found), found
    assert found.startswith(f"source gtzan={uri}") and "coreyker/dnn-mgr" in found


def test_missing_folders_and_lists_are_named(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert f"there is no folder {absent}" in fault(absent)
    assert fault(str(tmp_path), absent).count(f"there is no file {absent}/") == 3
    uri = with_lists(tmp_path)
    (tmp_path / "valid_filtered.txt").unlink()
    assert f"there is no file {uri}/valid_filtered.txt; get the lists" in fault(uri)


@pytest.mark.parametrize("copy", ["dnn-mgr/gtzan", "music_dataset_split/GTZAN_split", "SemiSupCon/data/gtzan"])
def test_official_copies_of_the_lists_are_the_published_ones(tmp_path: Path, copy: str) -> None:
    folder = unpacked(f"gtzan/{copy}", tmp_path)
    excerpts = GtzanSource(str(folder), GtzanConfig()).excerpts()
    assert excerpts == published_excerpts()
    counts = expected_counts()["gtzan_filtered"]
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        genres = Counter(excerpt.genre for excerpt in excerpts if excerpt.split == split)
        assert genres == counts[name]["per_genre"] and genres.total() == counts[name]["n"]


def test_the_splits_of_another_benchmark_are_the_published_ones(tmp_path: Path) -> None:
    path = unpacked("gtzan/jukemir/metadata/gtzan_ff.json.gz", tmp_path)
    entries = json.loads(gzip.decompress(path.read_bytes())).values()
    splits = {entry["extra"]["id"]: entry["split"].replace("valid", "validation") for entry in entries}
    assert {excerpt.name: excerpt.split for excerpt in published_excerpts()} == splits

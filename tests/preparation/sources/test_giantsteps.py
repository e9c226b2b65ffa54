"""Tests GiantSteps key's importer on the official files, against jukemir's table of them, and on small ones."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.giantsteps import TONICS, GiantstepsConfig, GiantstepsSource, key_name
from mulan.preparation.sources.registry import KINDS
from tests.public_metadata import unpacked

ANNOTATIONS = (
    "ID\tMANUAL KEY\tC\n30\tD# minor\t2\n20\tC# major \t2\n40\tA major\t1\n50\tC minor / F minor\t2\n60\t-\t0\n"
)
METADATA = (
    "ID\tARTIST\tSONG TITLE\tMIX\tLABEL\tBP GENRE\tBP BPM\tBP KEY\n"
    "20\tPole Folder\tSong é\tOriginal Mix\tBonzai\tTrance\t132\tC# major\n"
    "30\tPhilippe Van Mullem\tCanopy\t\tBonzai\tTrance\t132\tD# major\n"
    "40\tAlek Biotic\tOther\t\tGotham\tHouse\t120\tA major\n"
    "50\tAlek Biotic\tMore\t\tGotham\tHouse\t120\tA major\n"
    "60\tAlek Biotic\tMost\t\tGotham\tHouse\t120\t\n"
)


def written(
    folder: Path, annotations: str = ANNOTATIONS, metadata: str = METADATA, keys: dict[str, str] | None = None
) -> GiantstepsSource:
    train = folder / "giantsteps-mtg-key-dataset/annotations"
    train.mkdir(parents=True, exist_ok=True)
    (train / "annotations.txt").write_text(annotations, encoding="utf-8")
    (train / "beatport_metadata.txt").write_text(metadata, encoding="utf-8")
    test = folder / "giantsteps-key-dataset/annotations/key"
    test.mkdir(parents=True, exist_ok=True)
    for name, key in ({"1000.LOFI.key": "Db major", "200.LOFI.key": "F minor\n"} if keys is None else keys).items():
        (test / name).write_text(key)
    (test / "README").write_text("no key")
    return GiantstepsSource(str(folder), GiantstepsConfig())


def add_audio(folder: Path, *numbers: int, data_set: str = "giantsteps-mtg-key-dataset") -> None:
    (folder / data_set / "audio").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / data_set / "audio" / f"{number}.LOFI.mp3").touch()


def found(folder: Path) -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    source = KINDS["giantsteps"](str(folder), PreparationConfig().giantsteps)
    return list(source.recordings(faults)), faults


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("giantsteps")
    for name in ("giantsteps-mtg-key-dataset/annotations/*.txt", "giantsteps-key-dataset/annotations/key/*"):
        data_set, _, pattern = name.partition("/")
        unpacked(f"giantsteps_key/{data_set}", folder, pattern=f"{data_set}/{pattern}")
    return folder


def test_the_official_files_give_jukemirs_songs_splits_and_keys(official: Path, tmp_path: Path) -> None:
    clips = json.loads(
        gzip.decompress(unpacked("giantsteps_key/jukemir/metadata/giantsteps_clips.json.gz", tmp_path).read_bytes())
    )
    source = GiantstepsSource(str(official), GiantstepsConfig())
    train, test = source.training_songs(), source.test_songs()
    assert (len(train), len(test)) == (1159, 604)
    assert Counter(song.split for song in train) == {"train": 923, "validation": 236}
    assert {song.song_id: (song.split, song.key) for song in [*train, *test]} == {
        clip["extra"]["id"]: (clip["split"].replace("valid", "validation"), clip["y"]) for clip in clips.values()
    }
    assert {song.song_id: song.artist for song in train} == {
        clip["extra"]["id"]: clip["extra"]["beatport_metadata"]["ARTIST"].strip()
        for clip in clips.values()
        if clip["split"] != "test"
    }


def test_the_official_files_have_the_known_counts(official: Path) -> None:
    source = GiantstepsSource(str(official), GiantstepsConfig())
    keys = Counter(song.key for song in source.test_songs())
    assert keys.most_common(1) == [("F minor", 73)]
    assert keys.most_common()[-1] == ("Db major", 1)
    assert set(keys) == {f"{tonic} {mode}" for tonic in TONICS for mode in ("major", "minor")}
    assert {song.key for song in source.training_songs()} == set(keys)
    lines = (official / "giantsteps-mtg-key-dataset/annotations/annotations.txt").read_text().splitlines()[1:]
    assert Counter(line[-1] for line in lines) == {"0": 96, "1": 208, "2": 1182}
    assert sum(line.split("\t")[1] != line.split("\t")[1].strip() and line[-1] == "2" for line in lines) == 2


def test_the_official_files_with_audio_give_recordings(official: Path) -> None:
    source = GiantstepsSource(str(official), GiantstepsConfig())
    train, test = source.training_songs(), source.test_songs()
    add_audio(official, *(song.song_id for song in train[:10]))
    add_audio(official, *(song.song_id for song in test[:10]), data_set="giantsteps-key-dataset")
    recordings, faults = found(official)
    assert [recording.recording_id for recording in recordings] == [
        str(song.song_id) for song in train[:10] + test[:10]
    ]
    assert faults.counts == {"missing audio": 1159 + 604 - 20}


def test_songs_have_their_keys_splits_and_metadata(tmp_path: Path) -> None:
    written(tmp_path)
    add_audio(tmp_path, 20, 30, 40, 50, 60)
    add_audio(tmp_path, 200, 1000, data_set="giantsteps-key-dataset")
    recordings, faults = found(tmp_path)
    assert [(each.recording_id, each.split, each.tags) for each in recordings] == [
        ("30", "train", ["key:Eb minor"]),
        ("20", "validation", ["key:Db major"]),
        ("200", "test", ["key:F minor"]),
        ("1000", "test", ["key:Db major"]),
    ]
    assert [each.title for each in recordings] == ["Canopy", "Song é (Original Mix)", "", ""]
    assert [each.artist for each in recordings] == ["Philippe Van Mullem", "Pole Folder", "", ""]
    assert recordings[0].audio.uri == str(tmp_path / "giantsteps-mtg-key-dataset/audio/30.LOFI.mp3")
    assert recordings[2].audio.uri == str(tmp_path / "giantsteps-key-dataset/audio/200.LOFI.mp3")
    assert faults.left_out == 0
    assert found(tmp_path)[0] == recordings


def test_one_of_the_two_data_sets_is_enough(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "giantsteps-key-dataset").rename(tmp_path / "elsewhere")
    add_audio(tmp_path, 20)
    recordings, faults = found(tmp_path)
    assert [each.recording_id for each in recordings] == ["20"]
    assert faults.named == {
        "missing audio": [f"30: there is no {tmp_path}/giantsteps-mtg-key-dataset/audio/30.LOFI.mp3"]
    }
    (tmp_path / "giantsteps-mtg-key-dataset").rename(tmp_path / "other")
    with pytest.raises(SourceError, match="there is neither giantsteps-mtg-key-dataset nor giantsteps-key-dataset in"):
        found(tmp_path)


def test_audio_that_was_not_downloaded_is_named(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(SourceError, match=r"no folder .*/audio; run audio_dl.sh in giantsteps-mtg-key-dataset"):
        found(tmp_path)


@pytest.mark.parametrize("key", ["", "-", "C", "C dur", "c minor", "H minor", "E# minor", "Cb major", "C minor/major"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key!r} is not a key such as 'Eb minor'"):
        key_name(key)


def test_sharps_are_written_as_flats() -> None:
    sharps = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
    for mode in ("major", "minor"):
        assert [key_name(f"{tonic} {mode}") for tonic in sharps] == [f"{tonic} {mode}" for tonic in TONICS]
        assert [key_name(f"{tonic} {mode}") for tonic in TONICS] == [f"{tonic} {mode}" for tonic in TONICS]


DAMAGED = {
    ANNOTATIONS.replace("D# minor\t2", "D# dur\t2"): "line 2: 'D# dur' is not a key",
    ANNOTATIONS.replace("D# minor\t2", "D# minor\t3"): "line 2: the confidence C is '3', not 0, 1 or 2",
    ANNOTATIONS.replace("40\t", "41\t"): "line 4: song 41 is not in beatport_metadata.txt",
    ANNOTATIONS.replace("40\t", "30\t"): "line 4: ID 30 is that of line 2",
    ANNOTATIONS.replace("\tC\n", "\tConfidence\n"): "line 1: the header lacks C",
    ANNOTATIONS.replace("\t1\n", "\n"): "line 4: 2 fields instead of 3",
}


@pytest.mark.parametrize("annotations", DAMAGED)
def test_damaged_annotations_are_named_with_line_and_remedy(tmp_path: Path, annotations: str) -> None:
    source = written(tmp_path, annotations)
    with pytest.raises(SourceError, match=f"{tmp_path}: .*/annotations.txt, {DAMAGED[annotations]}.*; clone the repo"):
        source.training_songs()


def test_damaged_metadata_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/beatport_metadata.txt, line 1: the header lacks ARTIST"):
        written(tmp_path, metadata=METADATA.replace("ARTIST", "NAME")).training_songs()


def test_damaged_key_files_are_named_together(tmp_path: Path) -> None:
    keys = {"1.LOFI.key": "d# minor\t2\t", "2.LOFI.key": "", "3.LOFI.key": "A minor"}
    source = written(tmp_path, keys=keys)
    with pytest.raises(SourceError, match=r"2 faults:\n.*/1.LOFI.key, line 1: .*\n.*/2.LOFI.key, line 1: '' is not"):
        source.test_songs()


def test_a_folder_without_key_files_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, keys={"1.LOFI.jams": "{}"})
    with pytest.raises(SourceError, match=r"there are no files ID.LOFI.key in .*/annotations/key; clone"):
        source.test_songs()

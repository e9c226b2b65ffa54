"""Tests the importer of MTG-Jamendo on small clones, whole and damaged, and on the genuine files."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mulan.config.errors import RecipeError
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.mtg_jamendo import JamendoTrack, MtgJamendoConfig, MtgJamendoSource
from mulan.preparation.sources.registry import KINDS
from mulan.storage import filesystem
from tests.public_metadata import expected_counts, unpacked

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
TRAIN = [
    "track_0000382\tartist_000020\talbum_000046\t82/382.mp3\t211.1\tgenre---rock\tinstrument---voice",
    "track_1400007\tartist_000020\talbum_000047\t07/1400007.mp3\t30.0\tmood/theme---background",
]
VALIDATION = ["track_0000500\tartist_000021\talbum_000048\t00/500.mp3\t4140.3\tgenre---jazz"]
TEST = ["track_0000001\tartist_000022\talbum_000049\t01/1.mp3\t100\tgenre---pop\tgenre---rock"]
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
AUDIO = ["82/382.mp3", "07/1400007.mp3", "00/500.mp3", "01/1.mp3"]


def split_file(part: str, *, subset: str = "", split: int = 0) -> str:
    return f"data/splits/split-{split}/autotagging{subset}-{part}.tsv"


def written(uri: str, *, audio: list[str], parts: dict[str, list[str]] = PARTS, **where: Any) -> str:
    for part, rows in parts.items():
        content = "".join(f"{row}\r\n" for row in [HEADER, *rows])
        filesystem.write_atomically(filesystem.join(uri, split_file(part, **where)), content.encode())
    for path in audio:
        filesystem.write_atomically(filesystem.join(uri, path), b"")
    return uri


def read(uri: str, **config: Any) -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    return list(MtgJamendoSource(uri, MtgJamendoConfig(**config)).recordings(faults)), faults


def fault(uri: str, **config: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read(uri, **config)
    return str(caught.value)


def test_tracks_have_their_annotations(storage_uri: str) -> None:
    found, faults = read(written(storage_uri, audio=[f"raw_30s/audio/{path}" for path in AUDIO]))
    assert faults.left_out == 0
    assert [(recording.recording_id, recording.split, recording.tags) for recording in found] == [
        ("track_0000382", "train", ("genre:rock", "instrument:voice")),
        ("track_1400007", "train", ("mood/theme:background",)),
        ("track_0000500", "validation", ("genre:jazz",)),
        ("track_0000001", "test", ("genre:pop", "genre:rock")),
    ]
    assert [recording.audio.uri for recording in found] == [f"{storage_uri}/raw_30s/audio/{path}" for path in AUDIO]
    first = found[0]
    assert (first.artist, first.channel, first.provenance) == (
        "artist_000020", "album_000046", "https://www.jamendo.com/track/382",
    )  # fmt: skip


@pytest.mark.parametrize("folder", ["", "audio-low/", "deep/raw_30s/audio-low/"])
def test_the_smaller_version_of_the_audio_is_found_too(tmp_path: Path, folder: str) -> None:
    low = [f"{folder}{path.replace('.mp3', '.low.mp3')}" for path in AUDIO]
    found, faults = read(written(str(tmp_path), audio=[*low, f"raw/{AUDIO[0]}"]))
    assert [recording.audio.uri for recording in found] == [
        f"{tmp_path}/{path}" for path in (f"raw/{AUDIO[0]}", *low[1:])
    ]
    assert faults.left_out == 0


def test_the_audio_may_be_elsewhere(storage_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = written(filesystem.join(storage_uri, "clone"), audio=[])
    (tmp_path / "music" / "82").mkdir(parents=True)
    (tmp_path / "music" / "82" / "382.mp3").touch()
    found, faults = read(clone, audio=str(tmp_path / "music"))
    assert [recording.audio.uri for recording in found] == [str(tmp_path / "music/82/382.mp3")]
    assert faults.counts == {"missing audio": 3}
    assert faults.named["missing audio"][0].endswith(f"{tmp_path}/music/07/1400007.mp3 or 07/1400007.low.mp3")
    monkeypatch.chdir(tmp_path)
    assert read(clone, audio="music")[0] == found


def test_settings_choose_the_files(tmp_path: Path) -> None:
    uri = written(str(tmp_path), audio=AUDIO)
    for number, subset in enumerate(("all", "top50tags", "genre", "instrument", "moodtheme")):
        row = f"track_000000{number}\tartist_000001\talbum_000001\t0{number}/{number}.mp3\t40.5\tgenre---x"
        suffix = "" if subset == "all" else f"_{subset}"
        written(uri, parts={**PARTS, "train": [row]}, audio=[], split=number, subset=suffix)
        source = MtgJamendoSource(uri, MtgJamendoConfig(split=number, subset=subset))  # type: ignore[arg-type]
        first = next(source.tracks())
        assert first == JamendoTrack(
            f"track_000000{number}", "artist_000001", "album_000001", f"0{number}/{number}.mp3", 40.5, "train",
            ("genre:x",),
        )  # fmt: skip
    with pytest.raises(RecipeError):
        PreparationConfig().replace({"mtg_jamendo.split": 5})


def test_the_source_is_registered_with_its_settings(tmp_path: Path) -> None:
    source = KINDS["mtg_jamendo"](written(str(tmp_path), audio=AUDIO), PreparationConfig().mtg_jamendo)
    found = list(source.recordings(Faults()))
    assert len(found) == 4 and list(source.recordings(Faults())) == found


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\r\n", "\n"),
        lambda text: text.replace("\r\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text + "\r\n\r\n",
        lambda text: text.replace("\r\n", "\t\t\t\r\n"),  # a spreadsheet makes all rows equally long
        lambda text: re.sub(r"[^\t\r\n]+", r'"\g<0>"', text),
    ],
)
def test_changes_that_lose_nothing_are_read(tmp_path: Path, change: Callable[[str], str]) -> None:
    uri = written(str(tmp_path), audio=AUDIO)
    expected, _ = read(uri)
    for part in PARTS:
        path = tmp_path / split_file(part)
        text = path.read_bytes().decode()
        assert change(text) != text
        path.write_bytes(change(text).encode())
    assert read(uri)[0] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-5], "line 3: the last line has no end, the file is truncated"),
        (lambda text: text[: text.index("artist_000020")], "line 2: the last line has no end"),
        (lambda text: text.replace("\t82/382.mp3\t211.1", ""), "line 2: 5 fields instead of at least 6"),
        (lambda text: text.replace("211.1", "211,1"), "line 2: '211,1' is no duration"),
        (lambda text: text.replace("track_0000382", "#NAME?"), "line 2: '#NAME\\?' is no track"),
        (lambda text: text.replace("82/382.mp3", "../../382.mp3"), "line 2: '../../382.mp3' is no path"),
        (lambda text: text.replace("82/382.mp3", "82/383.mp3"), "line 2: 82/383.mp3 is not the path of track_0000382"),
        (lambda text: text.replace("genre---rock", "genre-rock"), "line 2: 'genre-rock' is no tag"),
        (lambda text: text.replace("\t", ","), "line 1: the header is not TRACK_ID"),
        (lambda text: text.partition("\n")[2], "line 1: the header is not TRACK_ID"),
        (lambda text: text + text.partition("\n")[2], "has 2 faults:\n.*line 4: track_0000382 is listed before"),
        (lambda text: text + VALIDATION[0] + "\n", "validation.tsv, line 2: track_0000500 is listed before"),
        (lambda text: "raw_30s_cleantags_50artists.tsv", "symbolic link .*raw_30s_cleantags_50artists.tsv"),
        (lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (lambda text: HEADER + "\r\n", "line 1: there are no tracks"),
        (lambda text: "", "is empty"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    uri = written(str(tmp_path), audio=AUDIO)
    path = tmp_path / split_file("train")
    path.write_bytes(change(path.read_bytes().decode()).encode())
    found = fault(uri)
    assert re.search(message, found), found
    assert found.startswith(f"source mtg_jamendo={uri}") and "name a clone of MTG/mtg-jamendo-dataset" in found
    assert str(tmp_path / "data/splits") in found


def test_no_cut_within_a_row_is_unnoticed(tmp_path: Path) -> None:
    uri = written(str(tmp_path), audio=[])
    path = tmp_path / split_file("train")
    content = path.read_bytes()
    errors, whole = [], []
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            tracks = list(MtgJamendoSource(uri, MtgJamendoConfig()).tracks())
        except SourceError as error:
            errors.append(str(error))
        else:
            whole.append(len(tracks))
    assert all(split_file("train") in error for error in errors)
    assert whole == [3, 3, 4]  # after \r and after \n of the first row, and between both of the second one


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert f"there is no folder {absent}" in fault(absent)
    uri = written(str(tmp_path), audio=AUDIO)
    for part in PARTS:  # all of them are named
        missing = f"there is no file {uri}/{split_file(part, subset='_genre', split=3)}; name a clone of MTG/"
        assert missing in fault(uri, split=3, subset="genre")
    assert f"there is no folder {absent}" in fault(uri, audio=absent)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mtg_jamendo")
    (folder / "data/splits").mkdir(parents=True)
    unpacked("mtg_jamendo/data/splits/split-0", folder / "data/splits")
    return str(folder)


@pytest.mark.parametrize("subset", ["all", "top50tags", "genre", "instrument", "moodtheme"])
def test_all_official_counts_are_reproduced(genuine: str, subset: Any) -> None:
    tracks = list(MtgJamendoSource(genuine, MtgJamendoConfig(subset=subset)).tracks())
    parts: dict[str, list[JamendoTrack]] = defaultdict(list)
    for track in tracks:
        parts[track.split].append(track)
    counts = {
        part: {
            "tracks": len(of_part),
            "labels": sum(len(track.tags) for track in of_part),
            "artists": len({track.artist_id for track in of_part}),
            "first_id": of_part[0].track_id,
            "last_id": of_part[-1].track_id,
            "tag_counts": Counter(tag.replace(":", "---") for track in of_part for tag in track.tags),
        }
        for part, of_part in parts.items()
    }
    assert counts == expected_counts()["mtg_jamendo"][f"split-0/{subset}"]
    artists = Counter(artist for of_part in parts.values() for artist in {track.artist_id for track in of_part})
    assert set(artists.values()) == {1}
    assert (min(track.duration_s for track in tracks), max(track.duration_s for track in tracks)) >= (30.0, 400.0)


def test_tracks_are_those_of_a_plain_reader(genuine: str) -> None:
    expected = []
    for part in PARTS:
        rows = Path(genuine, split_file(part, subset="_moodtheme")).read_bytes().decode("ascii").split("\r\n")[1:-1]
        expected += [(part, *row.split("\t")) for row in rows]
    tracks = MtgJamendoSource(genuine, MtgJamendoConfig(subset="moodtheme")).tracks()
    found = [
        (one.split, one.track_id, one.artist_id, one.album_id, one.path, str(one.duration_s),
         *(tag.replace(":", "---") for tag in one.tags))
        for one in tracks
    ]  # fmt: skip
    assert found == expected

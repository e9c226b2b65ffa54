"""Tests Emomusic's importer on the official annotations, against jukemir's table of them, and on small ones."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.emomusic import EmomusicConfig, EmomusicSource, calm_split, seconds_of
from mulan.preparation.sources.registry import KINDS
from tests.public_metadata import unpacked

INFO = (
    "song_id", "file_name", "Artist", "Song title", "start of the segment (min.sec)", "end of the segment (min.sec)",
    "Genre", "Mediaeval 2013 set"
)  # fmt: skip
MEANS = ("song_id", "mean_arousal", "std_arousal", "mean_valence", "std_valence")

SONGS = (
    "2,2.mp3,The New Mystikal Troubadours\t,Tonight  A Lonely Century\t,0.48,1.33\t,Blues ,development \n"
    '10,10.mp3,Pepe,"Two, one",0.5\t,1.35,Rock\t,\tevaluation\n'
    "3,3.mp3, Vieux Farka Touré ,Song,2.05,2.5,Folk,development\n"
)
RATINGS = "3,4.4,1.2,5,1\n2,3.1,0.99443,3\t,0.66667\n10, 8.4,0.5,1.6 ,0.1\n"


def written(folder: Path, songs: str = SONGS, ratings: str = RATINGS, below: str = "annotations") -> EmomusicSource:
    (folder / below).mkdir(exist_ok=True)
    (folder / below / "songs_info.csv").write_text(",".join(INFO) + "\n" + songs, encoding="utf-8")
    (folder / below / "static_annotations.csv").write_text(",".join(MEANS) + "\n" + ratings, encoding="utf-8")
    return EmomusicSource(str(folder), EmomusicConfig())


def add_audio(folder: Path, *numbers: int) -> None:
    (folder / "clips_45seconds").mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"clips_45seconds/{number}.mp3").touch()


def found(folder: Path, **config: str) -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    source = KINDS["emomusic"](str(folder), PreparationConfig().emomusic.replace(**config))
    return list(source.recordings(faults)), faults


def with_blanks(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Returns the lines of a CSV whose fields have tabs and spaces around them, as the official ones do."""
    blanks = ("", "\t", " ", "", " \t")
    text = io.StringIO()
    csv.writer(text).writerows(
        [blanks[(row + column) % 2] + fields[name] + blanks[(row + column) % 5] for column, name in enumerate(columns)]
        for row, fields in enumerate(rows)
    )
    return text.getvalue()


@pytest.fixture(scope="module")
def jukemir(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """Jukemir's table, which has all fields of the official files, by song."""
    path = unpacked("emomusic/jukemir/metadata/emomusic.json.gz", tmp_path_factory.mktemp("jukemir"))
    return {int(number): song for number, song in json.loads(gzip.decompress(path.read_bytes())).items()}


@pytest.fixture(scope="module")
def official(jukemir: dict[int, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emomusic")
    extras = [song["extra"] for song in jukemir.values()]
    songs = with_blanks(INFO, [extra["songs_info"] for extra in extras])
    written(folder, songs, with_blanks(MEANS, [extra["static_annotations"] for extra in extras]))
    add_audio(folder, *jukemir)
    return folder


def test_the_official_files_give_jukemirs_splits_and_targets(official: Path, jukemir: dict[int, Any]) -> None:
    recordings, faults = found(official)
    assert (len(recordings), faults.left_out) == (744, 0)
    assert Counter(each.split for each in recordings) == {"train": 504, "validation": 115, "test": 125}
    assert {int(each.recording_id): each.split for each in recordings} == {
        number: song["split"].replace("valid", "validation") for number, song in jukemir.items()
    }
    development = [each.targets for each in recordings if each.split != "test"]
    for column, (name, mean, std) in enumerate(
        [("arousal", 4.756063166397409, 1.3860096547884178), ("valence", 4.97386462035541, 1.2546183995244033)]
    ):
        ratings = np.array([targets[name] for targets in development])
        assert len(ratings) == 619
        np.testing.assert_allclose([ratings.mean(), ratings.std()], [mean, std], rtol=1e-12)
        assert all(number in EmomusicConfig.__doc__ for number in (str(mean), str(std)))
        standardized = {int(each.recording_id): (each.targets[name] - mean) / std for each in recordings}
        expected = {number: song["y"][column] for number, song in jukemir.items()}
        assert standardized == pytest.approx(expected, abs=1e-12)
    assert {each.targets["arousal"] for each in recordings} >= {1.6, 8.4}
    assert min(each.targets["valence"] for each in recordings) == 1.6
    assert max(each.targets["valence"] for each in recordings) == 8.1


def test_the_official_files_give_the_official_split(official: Path) -> None:
    recordings, _ = found(official, split="mediaeval")
    assert Counter(each.split for each in recordings) == {"train": 619, "test": 125}


def test_the_official_files_have_eight_genres_and_excerpts_of_45_s(official: Path, jukemir: dict[int, Any]) -> None:
    songs = EmomusicSource(str(official), EmomusicConfig()).songs()
    genres = Counter(song.genre for song in songs)
    assert (len(genres), min(genres.values()), max(genres.values())) == (8, 71, 116)
    assert [song.start_s for song in songs] == [song["clip"]["clip_offset"] for song in jukemir.values()]
    starts = [song["extra"]["songs_info"][INFO[4]] for song in jukemir.values()]
    # 63 lack a zero after the point, and 13 both of them and the point: a spreadsheet has written 0.50 as 0.5
    assert Counter(len(start.partition(".")[2]) for start in starts) == {2: 668, 1: 63, 0: 13}
    assert (songs[0].song_id, songs[-1].song_id) == (2, 1000)


@pytest.mark.parametrize("below", ["annotations", "."])
def test_songs_have_targets_tags_and_splits(tmp_path: Path, below: str) -> None:
    written(tmp_path, below=below)
    add_audio(tmp_path, 2, 3, 10)
    recordings, _ = found(tmp_path)
    assert [(each.recording_id, each.split, each.tags) for each in recordings] == [
        ("2", "validation", ["genre:Blues"]),
        ("3", "train", ["genre:Folk"]),
        ("10", "test", ["genre:Rock"]),
    ]
    assert [each.targets for each in recordings] == [
        {"arousal": 3.1, "valence": 3.0},
        {"arousal": 4.4, "valence": 5.0},
        {"arousal": 8.4, "valence": 1.6},
    ]
    assert [each.artist for each in recordings] == ["The New Mystikal Troubadours", "Vieux Farka Touré", "Pepe"]
    assert [each.title for each in recordings] == ["Tonight  A Lonely Century", "Song", "Two, one"]
    assert [each.provenance for each in recordings] == [
        "Emomusic, song 2, seconds 48 to 93", "Emomusic, song 3, seconds 125 to 170",
        "Emomusic, song 10, seconds 50 to 95"
    ]  # fmt: skip
    assert recordings[2].audio.uri == str(tmp_path / "clips_45seconds/10.mp3")
    assert [each.split for each in found(tmp_path, split="mediaeval")[0]] == ["train", "train", "test"]


def test_missing_audio_is_counted_and_its_folder_named(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(SourceError, match=r"no folder .*/clips_45seconds; unpack clips_45sec.tar.gz"):
        found(tmp_path)
    add_audio(tmp_path, 3)
    recordings, faults = found(tmp_path)
    assert [each.recording_id for each in recordings] == ["3"]
    assert faults.counts == {"missing audio": 2}
    assert faults.named["missing audio"][0] == f"2: there is no {tmp_path}/clips_45seconds/2.mp3"


def test_the_split_of_an_artist_is_that_of_jukemir() -> None:
    """As its file emomusic.json.gz has them: remainders of SHA-1 by 10 up to 7 are ``train``."""
    sevens = ["Adubter", "Advent Chamber Orchestra-Dvorak", "Black Twig Pickers and Steve Gunn", "Björn & Gorden"]
    eights = ["Amen Dunes", "Beat Doctor", "Big Bill Broonzy", "Deltason", "Dub Terminator"]
    nines = ["Altered Carbon", "Apes on Tapes", "Arnaud Roy", "Black Rebel Motorcycle Club", "Circus Marcus"]
    assert {calm_split(artist) for artist in sevens} == {"train"}
    assert {calm_split(artist) for artist in eights + nines} == {"validation"}


def test_the_split_of_an_artist_ignores_case_blanks_and_all_but_ascii_letters() -> None:
    names = [f"some one {letter}" for letter in "abcdefghijklmnopqrst"]
    splits = [calm_split(name) for name in names]
    assert set(splits) == {"train", "validation"}
    for form in ("{}é", "{}9", "{}π", "& {}.", " {}\t", "é {}"):
        assert [calm_split(form.format(name.upper().replace(" ", "  "))) for name in names] == splits


def test_times_are_minutes_and_padded_seconds() -> None:
    times = {"0.48": 48, "0.5": 50, "0.05": 5, "1": 60, "2.0": 120, "12.59": 779}
    assert {time: seconds_of(time) for time in times} == times


@pytest.mark.parametrize("time", ["", "1.", ".5", "0.60", "0.7", "1:20", "-1.2", "0.123", "1,2", "²"])
def test_other_times_are_refused(time: str) -> None:
    with pytest.raises(ValueError, match="is not a time as minutes"):
        seconds_of(time)


DAMAGED = [
    (SONGS.replace("0.48", "48"), RATINGS, "songs_info.csv, line 2: the segment from 48 to 1.33 does not last 45 s"),
    (SONGS.replace("0.48", "0:48"), RATINGS, "songs_info.csv, line 2: '0:48' is not a time as minutes.seconds"),
    (SONGS.replace("10.mp3", "11.mp3"), RATINGS, "songs_info.csv, line 3: file_name is '11.mp3', not 10.mp3"),
    (SONGS.replace("evaluation", "test"), RATINGS, "songs_info.csv, line 3: Mediaeval 2013 set is 'test', neither"),
    (SONGS.replace("\n3,", "\n4,"), RATINGS, "songs_info.csv, line 4: song 4 is not in static_annotations.csv"),
    (SONGS.replace("\n3,", "\n2,"), RATINGS, "songs_info.csv, line 4: song_id 2 is that of line 2"),
    (SONGS.partition("\n3")[0], RATINGS, "songs_info.csv lacks the songs 3 of static_annotations.csv"),
    (SONGS[:-20], RATINGS, "songs_info.csv, line 4: [67] fields instead of 8"),
    (SONGS, RATINGS.replace("8.4", "84"), "static_annotations.csv, line 4: mean_arousal is '84', not a number from 1"),
    (SONGS, RATINGS.replace("3\t", "nan"), "static_annotations.csv, line 3: mean_valence is 'nan', not a number from"),
    (SONGS, RATINGS.replace("4.4", "4;4"), "static_annotations.csv, line 2: mean_arousal is '4;4', not a number from"),
]


@pytest.mark.parametrize(("songs", "ratings", "fault"), DAMAGED)
def test_damaged_files_are_named_with_line_and_remedy(tmp_path: Path, songs: str, ratings: str, fault: str) -> None:
    source = written(tmp_path, songs, ratings)
    with pytest.raises(SourceError, match=f"(?s)emomusic={tmp_path}.*/annotations/{fault}") as raised:
        source.songs()
    assert "unpack annotations.tar.gz of Emomusic (1000 songs) again" in str(raised.value)


def test_all_damaged_rows_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"2 faults:\n.*line 2: the segment.*\n.*line 3: file_name") as raised:
        written(tmp_path, SONGS.replace("0.48", "0.49").replace("10.mp3", "3.mp3")).songs()
    assert raised.value.count == 2

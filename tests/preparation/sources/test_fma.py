"""Tests FMA's importer on tables of the official layout and sizes, on the official genres, and on damaged copies."""

import ast
import csv
import io
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.fma import KNOWN_BAD_TRACKS, SUBSETS, FmaConfig, FmaSource
from mulan.preparation.sources.registry import KINDS
from tests.public_metadata import unpacked

NAMES = {
    "album": "comments date_created date_released engineer favorites id information listens producer tags title tracks "
    "type",
    "artist": "active_year_begin active_year_end associated_labels bio comments date_created favorites id latitude "
    "location longitude members name related_projects tags website wikipedia_page",
    "set": "split subset",
    "track": "bit_rate comments composer date_created date_recorded duration favorites genre_top genres genres_all "
    "information interest language_code license listens lyricist number publisher tags title",
}
COLUMNS = [(group, name) for group, names in NAMES.items() for name in names.split()]
"""The 52 columns of the official ``tracks.csv``."""

GENRES = "genre_id,#tracks,parent,title,top_level\n10,4,0,Pop,10\n12,9,0,Rock,12\n25,3,12,Punk,12\n"

SIZES = {
    "small": {"training": 6400, "validation": 800, "test": 800},
    "medium": {"training": 19922, "validation": 2505, "test": 2573},
    "large": {"training": 84353, "validation": 10958, "test": 11263},
}
"""The official sizes of the splits of each subset, which contains the smaller ones."""

BAD_IN_SMALL = {98565, 98567, 98569, 99134, 108925, 133297}


def track(number: int, subset: str = "small", split: str = "training", **fields: str) -> dict[str, str]:
    """Returns a row of ``tracks.csv`` by ``group_name`` of the column."""
    row = {"set_subset": subset, "set_split": split, "track_genre_top": "Rock", "track_genres_all": "[12]"}
    row |= {"album_tags": "[]", "artist_tags": "[]", "track_genres": "[12]", "track_tags": "[]"}
    row |= {"track_title": f"Title {number}", "artist_name": f"Artist {number % 7}"}
    return row | fields | {"": str(number)}


def table(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *(group for group, _ in COLUMNS)])
    writer.writerow(["", *(name for _, name in COLUMNS)])
    writer.writerow(["track_id", *("" for _ in COLUMNS)])
    writer.writerows([row[""], *(row.get("_".join(column), "") for column in COLUMNS)] for row in rows)
    return text.getvalue()


def written(folder: Path, tracks: str, genres: str = GENRES) -> Path:
    (folder / "fma_metadata").mkdir(parents=True, exist_ok=True)
    (folder / "fma_metadata/tracks.csv").write_text(tracks, encoding="utf-8")
    (folder / "fma_metadata/genres.csv").write_text(genres, encoding="utf-8")
    return folder


def add_audio(folder: Path, numbers: Sequence[int], subset: str = "small") -> None:
    for number in numbers:
        name = f"{number:06d}.mp3"
        path = folder / f"fma_{subset}" / name[:3] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder: Path, **config: str) -> tuple[list, Faults]:
    faults = Faults()
    source = KINDS["fma"](str(folder), PreparationConfig().fma.replace(**config))
    return list(source.recordings(faults)), faults


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FMA's metadata with its 106,574 tracks, of which only the ids, subsets, splits and bad tracks are real."""
    header = table([])
    row = table([track(2, "SUBSET", "SPLIT")]).removeprefix(header).removeprefix("2")
    numbers = iter(number for number in range(2, 200_000) if number not in KNOWN_BAD_TRACKS)
    lines, before = {}, dict.fromkeys(SIZES["small"], 0)
    for subset, sizes in SIZES.items():
        bad = {"small": BAD_IN_SMALL, "medium": KNOWN_BAD_TRACKS - BAD_IN_SMALL, "large": ()}[subset]
        ids = iter([*bad, *itertools.islice(numbers, sum(sizes.values()) - sum(before.values()) - len(bad))])
        for split, size in sizes.items():
            text = row.replace("SUBSET", subset).replace("SPLIT", split)
            lines |= {number: f"{number}{text}" for number in itertools.islice(ids, size - before[split])}
        before = sizes
    tracks = header + "".join(line for _, line in sorted(lines.items()))
    return written(tmp_path_factory.mktemp("fma"), tracks)


def test_subsets_have_the_official_sizes(whole: Path) -> None:
    tracks = list(FmaSource(str(whole), FmaConfig(subset="large")).tracks())
    assert len(tracks) == 106_574
    for number, subset in enumerate(SUBSETS):
        within = [track for track in tracks if track.subset in SUBSETS[: number + 1]]
        assert Counter(track.split for track in within) == SIZES[subset]
    small = [track for track in tracks if track.subset == "small"]
    assert list(FmaSource(str(whole), FmaConfig()).tracks()) == small


def test_known_bad_tracks_are_left_out_and_counted(whole: Path) -> None:
    add_audio(whole, [*BAD_IN_SMALL, 2, 3])
    recordings, faults = found(whole)
    assert [recording.recording_id for recording in recordings] == ["000002", "000003"]
    assert faults.counts == {"known bad track": 6, "missing audio": 8000 - 6 - 2}
    assert {int(named[:6]) for named in faults.named["known bad track"]} == BAD_IN_SMALL


def test_mulap_tests_on_the_official_validation_split(tmp_path: Path) -> None:
    splits = ("training", "validation", "test")
    bad = [track(98565, split="validation"), track(99134, split="test")]
    written(tmp_path, table([*(track(number, split=splits[number % 3]) for number in range(2, 32)), *bad]))
    add_audio(tmp_path, range(2, 32))
    official, _ = found(tmp_path)
    mulap, faults = found(tmp_path, protocol="mulap")
    assert Counter(recording.split for recording in official) == {"train": 10, "validation": 10, "test": 10}
    assert Counter(recording.split for recording in mulap) == {"train": 10, "test": 10}
    tested = [recording.recording_id for recording in mulap if recording.split == "test"]
    assert tested == [recording.recording_id for recording in official if recording.split == "validation"]
    assert faults.counts == {"known bad track": 1}


def test_the_known_bad_tracks_are_those_of_the_authors(tmp_path: Path) -> None:
    lines = unpacked("fma/known_bad_tracks.tsv", tmp_path).read_text().splitlines()
    rows = list(csv.DictReader(lines, delimiter="\t"))
    assert len(rows) == 21
    assert {int(row["track_id"]) for row in rows} == KNOWN_BAD_TRACKS
    assert {int(row["track_id"]) for row in rows if row["fma_small"] == "yes"} == BAD_IN_SMALL


def test_the_official_genres(tmp_path: Path) -> None:
    path = unpacked("fma/fma_metadata/genres.csv", tmp_path)
    written(tmp_path, table([]), path.read_text(encoding="utf-8"))
    genres = FmaSource(str(tmp_path), FmaConfig()).genres()
    assert len(genres) == len({genre.title for genre in genres.values()}) == 163
    assert (min(genres), max(genres)) == (1, 1235)
    assert all(genre.parent == 0 or genre.parent in genres for genre in genres.values())
    assert {genre.title for genre in genres.values() if genre.parent == 0} == {
        "International", "Blues", "Jazz", "Classical", "Old-Time / Historic", "Country", "Pop", "Rock",
        "Easy Listening", "Soul-RnB", "Electronic", "Folk", "Spoken", "Hip-Hop", "Experimental", "Instrumental"
    }  # fmt: skip


def test_a_track_has_its_texts_and_tags(tmp_path: Path) -> None:
    row = track(
        1234,
        track_title=' "Quoted", long\nTitle é ',
        track_genres_all="[25, 12]",
        track_tags="['live', \"don't, stop\", ' ']",
        artist_name="Artist",
        album_title="Album",
        album_information="<p>not\nread</p>",
        track_license="Attribution",
    )
    plain = track(2, split="validation", track_title="", track_genre_top="", track_genres_all="[10, 12]")
    written(tmp_path, table([plain, row]))
    add_audio(tmp_path, [2, 1234])
    (second, first), faults = found(tmp_path)
    assert (first.recording_id, first.split, first.title) == ("001234", "train", '"Quoted", long\nTitle é')
    assert first.texts == {"short_form": [first.title, "live", "don't, stop"]}
    assert first.tags == ["genre:Rock", "subgenre:Punk"]
    assert (first.artist, first.channel, first.licence) == ("Artist", "Album", "Attribution")
    assert first.audio.uri == str(tmp_path / "fma_small/001/001234.mp3")
    assert (second.recording_id, second.split, second.texts) == ("000002", "validation", {})
    assert second.tags == ["subgenre:Pop", "subgenre:Rock"]
    assert faults.left_out == 0


def test_the_table_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    subsets, splits = ("small", "large", "medium", "small"), ("training", "test", "validation")
    rows = [
        track(
            7 * number,
            subsets[number % 4],
            splits[number % 3],
            track_genres_all=("[12]", "[12, 25]", "[]")[number % 3],
            track_tags=repr(["a, b", 'c"d', "e\nf", "é"][: number % 5]),
            artist_bio=f"<p>{number}\n\n\"quoted\", 'text'</p>" * (number % 3),
            album_title="x" * 200_000 if number == 5 else f"Album {number}",  # longer than Python's limit of a field
        )
        for number in range(1, 40)
    ]
    written(tmp_path, table(rows))
    frame = pd.read_csv(tmp_path / "fma_metadata/tracks.csv", index_col=0, header=[0, 1])
    assert frame.shape == (39, 52)
    frame = frame[frame["set", "subset"].isin(["small", "medium"])]
    tracks = list(FmaSource(str(tmp_path), FmaConfig(subset="medium")).tracks())
    assert [track.track_id for track in tracks] == list(frame.index)
    assert [track.split for track in tracks] == list(frame["set", "split"])
    assert [track.album for track in tracks] == list(frame["album", "title"])
    assert [list(track.tags) for track in tracks] == list(frame["track", "tags"].map(ast.literal_eval))
    titles = {12: "Rock", 25: "Punk"}
    expected = frame["track", "genres_all"].map(ast.literal_eval)
    assert [list(track.genres) for track in tracks] == [[titles[number] for number in ids] for ids in expected]


def test_the_audio_of_a_larger_subset_serves(tmp_path: Path) -> None:
    written(tmp_path, table([track(2), track(5, "medium"), track(7, "large")]))
    add_audio(tmp_path, [2, 5, 7], "large")
    assert [recording.recording_id for recording in found(tmp_path)[0]] == ["000002"]
    assert [recording.recording_id for recording in found(tmp_path, subset="medium")[0]] == ["000002", "000005"]
    add_audio(tmp_path, [2], "medium")
    recordings, faults = found(tmp_path, subset="medium")
    assert "fma_medium/000/000002.mp3" in recordings[0].audio.uri
    assert faults.named == {"missing audio": [f"000005: there is no {tmp_path}/fma_medium/000/000005.mp3"]}


@pytest.mark.parametrize(
    ("audio", "fault"),
    [
        ("small", "there is no fma_medium or fma_large in .*; unpack fma_medium.zip there, or --set fma.subset=small"),
        (None, "there is no fma_medium or fma_large in .*; unpack fma_medium.zip there$"),
    ],
)
def test_the_folder_of_the_audio_is_named(tmp_path: Path, audio: str | None, fault: str) -> None:
    written(tmp_path, table([track(2, "medium")]))
    if audio:
        add_audio(tmp_path, [2], audio)
    with pytest.raises(SourceError, match=f"source fma={tmp_path}: {fault}"):
        found(tmp_path, subset="medium")


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    pointer = unpacked("fma/damaged_copies/lfs_pointer/tracks.csv", tmp_path).read_text()
    add_audio(tmp_path, [2])
    with pytest.raises(SourceError, match=r"tracks.csv is the pointer of a Git LFS file.*git lfs pull"):
        found(written(tmp_path, pointer))


DAMAGED = {
    "track_id,set,track\n2,small,Title\n": "line 1: not the three header lines of tracks.csv",
    table([]).replace("genre_top", "genre"): "line 1: the header lacks track/genre_top; unpack fma_metadata.zip",
    table([]): "line 1: the table has no rows",
    table([track(2)])[:-10]: "line 4: 5[0-9] fields instead of 53: the file is truncated or damaged",
    table([track(2, track_title="two\nlines"), track(3, artist_bio="long,")])[:-60]: "line 6: ",
    table([track(2, "tiny")]): "line 4: the subset is 'tiny', not one of small, medium, large",
    table([track(2, split="dev")]): "line 4: the split is 'dev', not one of training, validation, test",
    table([track(2), track(3, track_tags="[a]")]): r"line 5: track/tags is '\[a\]', not a list",
    table([track(2, track_genres_all="12")]): "line 4: track/genres_all is '12', not a list",
    table([track(2, track_genres_all="[[12]]")]): "line 4: track/genres_all",
    table([track(2, track_genres_all="[12, 99]")]): r"line 4: genres.csv lacks the genres \[99\]",
    table([track(2) | {"": "../2"}]): "line 4: the id of the track is '../2', not a number",
    table([track(2, artist_bio="x")]).replace(",x,", ',"x,'): "line 4: damaged row",
}


@pytest.mark.parametrize("tracks", DAMAGED)
def test_damaged_tables_are_named_with_line_and_remedy(tmp_path: Path, tracks: str) -> None:
    written(tmp_path, tracks)
    add_audio(tmp_path, [2])
    with pytest.raises(SourceError, match=f"source fma={tmp_path}: .*/tracks.csv, {DAMAGED[tracks]}") as raised:
        found(tmp_path)
    assert "unpack fma_metadata.zip of the FMA data set again" in str(raised.value)


def test_all_damaged_rows_are_named_at_once(tmp_path: Path) -> None:
    written(tmp_path, table([track(2, "tiny"), track(3), track(4, split="")]))
    add_audio(tmp_path, [2, 3, 4])
    with pytest.raises(SourceError, match=r"has 2 faults:\n.*line 4: the subset.*\n.*line 6: the split"):
        found(tmp_path)
    written(tmp_path, table([track(3)]), "genre_id,parent,title\nx,0,Rock\n12,,Pop\n")
    with pytest.raises(SourceError, match=r"has 2 faults:\n.*/genres.csv, line 2: .*\n.*/genres.csv, line 3: "):
        found(tmp_path)


def test_reading_again_gives_the_same(tmp_path: Path) -> None:
    written(tmp_path, table([track(number) for number in range(2, 30)]))
    add_audio(tmp_path, list(range(2, 25)))
    source = FmaSource(str(tmp_path), FmaConfig())
    first, second = Faults(), Faults()
    assert list(source.recordings(first)) == list(source.recordings(second))
    assert first == second
    assert first.counts == {"missing audio": 5}

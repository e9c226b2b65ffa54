"""Tests the importer of MagnaTagATune on small copies, whole and damaged, and on the genuine tables."""

import csv
import io
import pickle
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.mtat import ANNOTATIONS, CLIPS, CORRUPT, TOP_50, MtatClip, MtatConfig, MtatSource
from mulan.preparation.sources.registry import KINDS
from mulan.storage import filesystem
from tests.public_metadata import expected_counts, unpacked

COLUMNS = [*sorted(TOP_50), "electro", "clasical"]
FIELDS = [
    "clip_id", "track_number", "title", "artist", "album", "url", "segmentStart", "segmentEnd", "original_url",
    "mp3_path",
]  # fmt: skip


def small_clips() -> dict[str, tuple[str, list[str]]]:
    """Returns path and tags of 17 clips: two in folder 0, and one in each other folder."""
    clips = {str(10 + index): (f"{folder}/a-b-{index}.mp3", ["no vocals"]) for index, folder in enumerate(HEX)}
    clips["10"] = ("0/a-b-0.mp3", ["guitar", "electro"])
    clips["5000"] = ("0/c.mp3", [])
    clips["14"] = ("4/a-b-4.mp3", ["electro"])
    clips["22"] = ("c/a-b-12.mp3", [])
    return clips


HEX = "0123456789abcdef"


def table(rows: Sequence[Sequence[str]], *, end: str = "\r\n", quoting: Literal[0, 1] = csv.QUOTE_ALL) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue()


def annotations(clips: dict[str, tuple[str, list[str]]], **style: Any) -> str:
    rows = [[clip, *("01"[tag in tags] for tag in COLUMNS), path] for clip, (path, tags) in clips.items()]
    return table([["clip_id", *COLUMNS, "mp3_path"], *rows], **style)


def clip_info(clips: dict[str, tuple[str, list[str]]], **style: Any) -> str:
    rows = [
        [clip, "07", f"Title {clip}", f"Artist {clip}", "Album", "http://x/y/", "30", "59", "http://o", path]
        for clip, (path, _) in clips.items()
    ]
    return table([FIELDS, *rows, ["9999", "01", "t", "a", "b", "u", "0", "29", "o", ""]], **style)


def written(uri: str, clips: dict[str, tuple[str, list[str]]], *, audio: str | None = "", **style: Any) -> str:
    filesystem.write_atomically(filesystem.join(uri, ANNOTATIONS), annotations(clips, **style).encode())
    filesystem.write_atomically(filesystem.join(uri, CLIPS), clip_info(clips, **style).encode())
    for path, _ in clips.values():
        if audio is not None:
            filesystem.write_atomically(filesystem.join(uri, audio, path), b"")
    return uri


def read(uri: str, **config: Any) -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    return list(MtatSource(uri, MtatConfig(**config)).recordings(faults)), faults


def fault(uri: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(uri)
    return str(caught.value)


@pytest.mark.parametrize("audio", ["", "mp3", "some/where"])
def test_clips_have_their_annotations(storage_uri: str, audio: str) -> None:
    clips = small_clips()
    found, faults = read(written(storage_uri, clips, audio=audio))
    assert [recording.recording_id for recording in found] == list(clips)
    assert faults.left_out == 0
    for recording in found:
        path, tags = clips[recording.recording_id]
        assert recording.audio.uri == filesystem.join(storage_uri, audio, path) and recording.audio.version
        assert recording.split == {"c": "validation", "d": "test", "e": "test", "f": "test"}.get(path[0], "train")
        assert recording.tags == tuple(f"mtat:{tag}" for tag in tags if tag != "electro")
        assert recording.title == f"Title {recording.recording_id}"
        assert recording.artist == f"Artist {recording.recording_id}"
        assert recording.channel == "Album" and recording.provenance == "http://x/y/ track 07"
        assert (recording.start_s, recording.end_s) == (None, None)


@pytest.mark.parametrize(
    ("config", "tagged", "first"),
    [
        ({}, False, ("mtat:guitar",)),
        ({"tags": "all"}, False, ("mtat:electro", "mtat:guitar")),
        ({"test_set": "tagged"}, True, ("mtat:guitar",)),
        ({"tags": "all", "test_set": "tagged"}, True, ("mtat:electro", "mtat:guitar")),
    ],
)
def test_settings_choose_clips_and_tags(
    tmp_path: Path, config: dict[str, str], tagged: bool, first: tuple[str, ...]
) -> None:
    clips = small_clips()
    found, faults = read(written(str(tmp_path), clips), **config)
    kept = set(COLUMNS) if config.get("tags") == "all" else set(TOP_50)
    expected = [clip for clip, (_, tags) in clips.items() if not tagged or set(tags) & kept]
    assert [recording.recording_id for recording in found] == expected
    assert tuple(sorted(found[0].tags)) == first
    assert faults.left_out == 0


def test_the_source_is_registered_with_its_settings(tmp_path: Path) -> None:
    uri = written(str(tmp_path), small_clips())
    source = KINDS["mtat"](uri, PreparationConfig().mtat)
    assert list(source.recordings(Faults())) == list(source.recordings(Faults())) == read(uri)[0]


def test_missing_and_corrupt_audio_is_counted(tmp_path: Path) -> None:
    clips = small_clips() | {clip: (f"6/corrupt-{clip}.mp3", ["rock"]) for clip in ("35644", "55753", "57881")}
    uri = written(str(tmp_path), clips)
    (tmp_path / "f" / "a-b-15.mp3").unlink()
    (tmp_path / "5").rename(tmp_path / "elsewhere")
    found, faults = read(uri)
    assert len(found) == len(clips) - 5
    assert faults.counts == {"missing audio": 2, "known to be corrupt": 3}
    assert faults.named["missing audio"][1] == f"25: there is no {uri}/f/a-b-15.mp3"
    assert faults.named["known to be corrupt"][0].startswith("35644: 6/corrupt-35644.mp3 ")


def test_all_audio_may_be_missing(tmp_path: Path) -> None:
    found, faults = read(written(str(tmp_path), small_clips(), audio=None))
    assert (found, faults.counts) == ([], {"missing audio": 17})


def test_clips_without_annotations_are_counted(tmp_path: Path) -> None:
    clips = small_clips()
    written(str(tmp_path), clips)
    del clips["25"]
    (tmp_path / ANNOTATIONS).write_text(annotations(clips), newline="")
    found, faults = read(str(tmp_path))
    assert len(found) == 16 and faults.counts == {"not annotated": 1}
    assert "f/a-b-15.mp3" in faults.named["not annotated"][0]


@pytest.mark.parametrize(
    "style", [{"end": "\n"}, {"end": "\r"}, {"quoting": csv.QUOTE_MINIMAL}, {"quoting": csv.QUOTE_MINIMAL, "end": "\n"}]
)
def test_other_line_ends_and_quotes_lose_nothing(tmp_path: Path, style: dict[str, Any]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    expected, _ = read(written(str(tmp_path / "a"), small_clips()))
    found, _ = read(written(str(tmp_path / "b"), small_clips(), **style))
    for name in (ANNOTATIONS, CLIPS):
        path = tmp_path / "b" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().rstrip(b"\r\n"))  # no line end after the last row
    again, faults = read(str(tmp_path / "b"))
    described = [[(one.recording_id, one.tags, one.title) for one in each] for each in (expected, found, again)]
    assert described[0] == described[1] == described[2]
    assert faults.left_out == 0


def test_a_missing_folder_or_table_is_named(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert fault(absent) == f"source mtat={absent}: there is no folder {absent}; name the folder of the recordings"
    uri = written(str(tmp_path), small_clips())
    for name in (ANNOTATIONS, CLIPS):
        (tmp_path / name).unlink()
        assert f"there is no file {uri}/{name}; get it from https://mirg.city.ac.uk" in fault(uri)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (ANNOTATIONS, lambda text: text[: text.index("c/a-b-12") + 3], "line 14: damaged row"),
        (ANNOTATIONS, lambda text: text[: text.index('"22"') + 60], "line 14: .*fields instead of 54|line 14: damaged"),
        (
            ANNOTATIONS,
            lambda text: text.replace('"', "").replace("\t", ","),
            "the header lacks clip_id, guitar, .* 47 more",
        ),
        (ANNOTATIONS, lambda text: text.replace("no vocals", "noVocals"), "line 1: the header lacks no vocals;"),
        (ANNOTATIONS, lambda text: text.replace('"0"', '"FALSE"'), "has 17 faults:\n.*line 2: the column .*'FALSE'"),
        (ANNOTATIONS, lambda text: text.replace("3/a-b", "../a-b"), "line 5: '../a-b-3.mp3' is no path"),
        (ANNOTATIONS, lambda text: text.replace("3/a-b", "/a-b"), "line 5: '/a-b-3.mp3' is no path"),
        (ANNOTATIONS, lambda text: text.replace("3/a-b", "4/a-b"), "line 5: clip_info_final.csv has no clip 13"),
        (ANNOTATIONS, lambda text: text.replace('"13"', '"12"'), "line 5: clip 12 is listed before"),
        (ANNOTATIONS, lambda text: "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (CLIPS, lambda text: text[: text.index("Title 25")], "line 17: damaged row"),
        (CLIPS, lambda text: text[: text.index('"25"')], "line 17: clip_info_final.csv has no clip 25"),
        (CLIPS, lambda text: text.replace('"artist"', '"Artist"'), "line 1: the header lacks artist;"),
        (CLIPS, lambda text: "", "is empty"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, name: str, change: Callable[[str], str], message: str) -> None:
    uri = written(str(tmp_path), small_clips())
    text = (tmp_path / name).read_bytes().decode()
    assert change(text) != text
    (tmp_path / name).write_bytes(change(text).encode())
    found = fault(uri)
    assert re.search(message, found), found
    assert found.startswith(f"source mtat={uri}") and f"{uri}/" in found and "get it from https://" in found


def test_no_cut_of_the_annotations_is_unnoticed(tmp_path: Path) -> None:
    uri = written(str(tmp_path), dict(list(small_clips().items())[:3]))
    content = (tmp_path / ANNOTATIONS).read_bytes()
    errors, counted = [], []
    for length in range(0, len(content) - 4, 10):
        (tmp_path / ANNOTATIONS).write_bytes(content[:length])
        try:
            found, faults = read(uri)
        except SourceError as error:
            errors.append(str(error))
        else:  # cut between two rows
            counted.append((len(found), dict(faults.counts)))
    assert len(errors) > 50 and all(ANNOTATIONS in error for error in errors)
    assert len(counted) < 5 and all(faults == {"not annotated": 3 - count} for count, faults in counted)


# the genuine tables


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mtat")
    for name in (ANNOTATIONS, CLIPS):
        unpacked(f"magnatagatune/{name}", folder)
    return str(folder)


@pytest.fixture(scope="module")
def all_clips(genuine: str) -> list[MtatClip]:
    faults = Faults()
    clips = list(MtatSource(genuine, MtatConfig(tags="all")).clips(faults))
    assert faults.left_out == 0
    return clips


def sizes(clips: Sequence[MtatClip]) -> tuple[int, int, int]:
    counts = Counter(clip.split for clip in clips)
    return counts["train"], counts["validation"], counts["test"]


def test_all_clips_and_tags_are_read(all_clips: list[MtatClip]) -> None:
    assert sizes(all_clips) == (18709, 1825, 5329)
    assert sizes([clip for clip in all_clips if not clip.tags]) == (3080, 274, 867)
    counts: dict[str, Counter[str]] = defaultdict(lambda: Counter(total=0, train=0, valid=0, test=0))
    for clip in all_clips:
        for tag in clip.tags:
            counts[tag].update([{"validation": "valid"}.get(clip.split, clip.split), "total"])
    assert counts == expected_counts()["magnatagatune"]["tag_counts_188"]
    by_count = sorted(TOP_50, key=lambda tag: (-counts[tag]["total"], tag))
    assert by_count == expected_counts()["magnatagatune"]["top50_by_count_then_name"]
    assert by_count == sorted(counts, key=lambda tag: (-counts[tag]["total"], tag))[:50]
    assert [counts[tag]["total"] for tag in TOP_50] == [counts[tag]["total"] for tag in by_count]
    folders = Counter(clip.path[0] for clip in all_clips)
    expected = [1108, 1543, 1562, 1238, 2421, 1604, 1788, 1163, 1144, 1773, 1417, 1948, 1825, 1677, 1547, 2105]
    assert [folders[folder] for folder in HEX] == expected


def test_songs_are_in_one_split_and_artists_are_not(all_clips: list[MtatClip]) -> None:
    songs: dict[tuple[str, str], set[str]] = defaultdict(set)
    artists: dict[str, set[str]] = defaultdict(set)
    for clip in all_clips:
        songs[clip.song].add(clip.split)
        artists[clip.artist].add(clip.split)
    assert (len(songs), sum(len(splits) > 1 for splits in songs.values())) == (5405, 0)
    assert (len(artists), sum(len(splits) > 1 for splits in artists.values())) == (230, 56)


def test_only_clips_with_one_of_the_50_tags_are_read(genuine: str, all_clips: list[MtatClip]) -> None:
    clips = list(MtatSource(genuine, MtatConfig(tags="top50", test_set="tagged")).clips(Faults()))
    assert sizes(clips) == (15250, 1529, 4332)
    tagged = {clip.path: set(clip.tags) & set(TOP_50) for clip in all_clips if set(clip.tags) & set(TOP_50)}
    assert {clip.path: set(clip.tags) for clip in clips} == tagged


def test_prevalence_of_tags_in_both_test_sets(all_clips: list[MtatClip]) -> None:
    top = [[tag for tag in clip.tags if tag in TOP_50] for clip in all_clips if clip.split == "test"]
    labels = sum(map(len, top))
    assert round(labels / 50 / 5329, 6) == 0.053102 and round(labels / 50 / sum(map(bool, top)), 6) == 0.065323
    validated = {tag for clip in all_clips if clip.split == "validation" for tag in clip.tags}
    absent = set(expected_counts()["magnatagatune"]["tag_counts_188"]) - validated
    assert sorted(absent) == [
        "birds", "bongos", "clasical", "duet", "female singing", "girl", "jungle", "no strings", "piano solo", "reggae",
        "sax", "soprano", "woodwind",
    ]  # fmt: skip


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def peers_lists(folder: Path) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yields split, paths and top-50 tags of the lists of J. Lee's music_dataset_split."""
    root = "magnatagatune/music_dataset_split/MTAT_split"
    names = unpacked(f"{root}/top50_tags.txt", folder).read_text().split()
    names = [re.sub("([A-Z])", lambda match: f" {match[1].lower()}", name) for name in names]
    for ours, theirs in (("train", "train"), ("validation", "valid"), ("test", "test")):
        listed = unpacked(f"{root}/{theirs}_list_pub.cP", folder).read_bytes()
        paths = _Plain(io.BytesIO(listed), encoding="latin1").load()
        labels = np.load(unpacked(f"{root}/y_{theirs}_pub.npy", folder), allow_pickle=False)
        tags = [[names[column] for column in np.flatnonzero(row)] for row in labels]
        yield ours, [path.replace(".npy", ".mp3") for path in paths], tags


def test_the_lists_of_peers_agree_but_for_six_clips(all_clips: list[MtatClip], tmp_path: Path) -> None:
    ours: dict[str, dict[str, set[str]]] = {"train": {}, "validation": {}, "test": {}}
    ids = {clip.path: clip.clip_id for clip in all_clips}
    for clip in all_clips:
        if tags := set(clip.tags) & set(TOP_50):
            ours[clip.split][clip.path] = tags
    absent = set()
    for split, paths, tags in peers_lists(tmp_path):
        absent |= {ids[path] for path in ours[split].keys() - set(paths)}
        assert {path: ours[split][path] for path in paths} == dict(zip(paths, map(set, tags), strict=True))
    assert absent == {"29", "11268", "11269", "35644", "55753", "57881"}


def test_the_matrix_of_peers_agrees(all_clips: list[MtatClip], tmp_path: Path) -> None:
    root = "magnatagatune/sota-music-tagging-models/split/mtat"
    labels, names = (
        np.load(unpacked(f"{root}/{name}.npy", tmp_path), allow_pickle=False) for name in ("binary", "tags")
    )
    expected = [{str(names[column]) for column in np.flatnonzero(row)} for row in labels]
    assert [set(clip.tags) & set(TOP_50) for clip in all_clips] == expected


def test_recordings_of_the_genuine_tables(genuine: str, all_clips: list[MtatClip]) -> None:
    present = {clip.path: clip for clip in all_clips[::100] if clip.tags}
    for path in (*present, *(clip.path for clip in all_clips if clip.clip_id in CORRUPT)):
        (Path(genuine) / "mp3" / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(genuine) / "mp3" / path).touch()
    found, faults = read(genuine, tags="all", test_set="tagged")
    assert len(CORRUPT) == 3 and not CORRUPT & {clip.clip_id for clip in present.values()}
    assert [one.audio.uri for one in found] == [f"{genuine}/mp3/{path}" for path in present]
    assert [(one.recording_id, one.tags) for one in found] == [
        (clip.clip_id, tuple(f"mtat:{tag}" for tag in clip.tags)) for clip in present.values()
    ]
    assert faults.counts == {"known to be corrupt": 3, "missing audio": 15626 + 1551 + 4462 - len(present)}
    assert {name.split(":")[0] for name in faults.named["known to be corrupt"]} == CORRUPT

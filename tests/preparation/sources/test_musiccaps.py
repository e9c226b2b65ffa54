import csv
from collections import Counter
from pathlib import Path

import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.musiccaps import REMEDY, CaptionedClip, MusicCapsConfig, MusicCapsSource, captioned_clips
from mulan.preparation.sources.registry import KINDS
from tests.public_metadata import unpacked

HEADER = (
    "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\r\n"
)
ROWS = (
    '-0Gj8-vB1q4,30,40,"/m/0140xf,/m/04rlf","[\'noisy\', \'sad\']","It sounds sad,\nlike a ballad.",4,False,True\r\n'
    'zz_TaK7CXJY,100,110,/m/04rlf,"[\'upbeat\', ""children\'s song""]",A “happy” song.,0,False,False\r\n'
    "--4gqARaEJE,0,10,/m/04rlf,\"['drums']\",Drums play.,1,True,True\r\n"
)
CLIPS = [
    CaptionedClip("-0Gj8-vB1q4", 30, 40, "It sounds sad,\nlike a ballad.", ("noisy", "sad"), True),
    CaptionedClip("zz_TaK7CXJY", 100, 110, "A “happy” song.", ("upbeat", "children's song"), False),
    CaptionedClip("--4gqARaEJE", 0, 10, "Drums play.", ("drums",), True),
]
AUDIO = ("-0Gj8-vB1q4.wav", "audio/[zz_TaK7CXJY]-[100-110].wav")


def musiccaps(folder: Path, text: str = HEADER + ROWS, audio: tuple[str, ...] = AUDIO) -> Path:
    """Writes a table and empty audio files to a folder."""
    (folder / "musiccaps-public.csv").write_bytes(text.encode())
    for name in audio:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def clips(text: str) -> list[CaptionedClip]:
    return captioned_clips("musiccaps=/d", "table.csv", text)


def refusal(text: str) -> str:
    with pytest.raises(SourceError) as error:
        clips(text)
    assert str(error.value).startswith("source musiccaps=/d")
    assert REMEDY in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROWS,
        (HEADER + ROWS).replace("\r\n", "\n"),
        (HEADER + ROWS).replace("\r\n", "\n").replace("\n", "\r\n"),
        (HEADER + ROWS).removesuffix("\r\n"),
        HEADER + ROWS.replace("True", "TRUE").replace("False", "FALSE"),
        HEADER + ROWS.replace(",30,40", ",30.0,40.0"),
    ],
)
def test_rows_are_read_whatever_their_lines_end_with(text: str) -> None:
    assert clips(text) == CLIPS


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("zz_TaK7CXJY", "#NAME?", "line 4: a spreadsheet has replaced the id, which began with a hyphen, by #NAME?"),
        ("zz_TaK7CXJY", "../../a.b", "line 4: ytid is not the id of a YouTube video"),
        ("zz_TaK7CXJY", "-0Gj8-vB1q4", "line 4: the video was listed before"),
        (",100,110", ",100,x", "line 4: start_s and end_s are not numbers of seconds"),
        (",100,110", ",100,100", "line 4: start_s and end_s are not the times of a clip"),
        (",100,110", ",nan,110", "line 4: start_s and end_s are not the times of a clip"),
        (",100,110", ",100,inf", "line 4: start_s and end_s are not the times of a clip"),
        ("['upbeat', ", "['upbeat, ", "line 4: aspect_list is not a list as Python writes it"),
        ("['upbeat', ", "[__import__('os'), ", "line 4: aspect_list is not a list as Python writes it"),
        ("['upbeat', ", "[1, ", "line 4: aspect_list is not a list of strings"),
        ("0,False,False", "0,False,no", "line 4: is_audioset_eval is neither True nor False"),
        (",0,False,False", ",0", "line 4: 7 fields instead of 9"),
        ("aspect_list", "aspects", "line 1: the header lacks aspect_list"),
    ],
)
def test_a_damaged_row_is_named(old: str, new: str, fault: str) -> None:
    assert f"table.csv, {fault}" in refusal((HEADER + ROWS).replace(old, new, 1))


def test_all_damaged_rows_are_named() -> None:
    message = refusal(
        HEADER + ROWS.replace("-0Gj8-vB1q4", "#NAME?").replace("--4gqARaEJE", "#NAME?").replace(",100,", ",,")
    )
    assert "table.csv, lines 2, 5: a spreadsheet" in message
    assert "table.csv, line 4: start_s" in message


def test_a_truncated_table_is_named_with_the_line_of_its_last_row() -> None:
    assert "line 2: damaged row" in refusal(HEADER + ROWS[: ROWS.index("like a")])
    assert "line 5: 3 fields instead of 9" in refusal(HEADER + ROWS[: ROWS.index(",10,/m/04rlf,\"['drums")] + ",1")
    assert "the table has no usable rows" in refusal(HEADER)


def found(folder: Path, faults: Faults | None = None, **options: bool) -> list[FoundRecording]:
    source = MusicCapsSource(str(folder), MusicCapsConfig(**options))
    recordings = list(source.recordings(Faults() if faults is None else faults))
    assert list(source.recordings(Faults())) == recordings
    return recordings


def test_clips_are_recordings_with_captions_and_aspects(tmp_path: Path) -> None:
    faults = Faults()
    first, second = found(musiccaps(tmp_path), faults)
    assert (first.recording_id, first.split, first.start_s, first.end_s) == ("-0Gj8-vB1q4", "test", None, None)
    assert first.audio.uri == f"{tmp_path}/-0Gj8-vB1q4.wav"
    assert first.texts == {"long_form": ["It sounds sad,\nlike a ballad."], "short_form": ("noisy", "sad")}
    assert first.tags == ()
    assert first.provenance == "MusicCaps, YouTube -0Gj8-vB1q4, 30-40 s"
    assert "CC BY-SA 4.0" in first.licence
    assert (second.recording_id, second.split) == ("zz_TaK7CXJY", "train")
    assert faults.counts == {"missing audio": 1}
    assert "--4gqARaEJE" in faults.named["missing audio"][0]


def test_a_clip_is_a_part_of_a_full_video_unless_its_file_is_cut(tmp_path: Path) -> None:
    first, second = found(musiccaps(tmp_path), full_videos=True)
    assert (first.start_s, first.end_s) == (30, 40)
    assert (second.start_s, second.end_s) == (None, None)


def test_the_kind_has_a_section(tmp_path: Path) -> None:
    source = KINDS["musiccaps"](str(musiccaps(tmp_path)), PreparationConfig().musiccaps)
    assert len(list(source.recordings(Faults()))) == 2


def test_a_byte_order_mark_is_skipped_and_a_missing_table_refused(tmp_path: Path) -> None:
    assert len(found(musiccaps(tmp_path, "\ufeff" + HEADER + ROWS))) == 2
    (tmp_path / "musiccaps-public.csv").unlink()
    with pytest.raises(
        SourceError, match=r"there is no file .*/musiccaps-public\.csv; get musiccaps-public\.csv again"
    ):
        found(tmp_path)


def test_the_genuine_table_has_the_published_numbers(tmp_path: Path) -> None:
    path = unpacked("musiccaps/musiccaps-public.csv", tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    read = captioned_clips("musiccaps=/d", path.name, path.read_bytes().decode())
    assert [(clip.youtube_id, clip.caption) for clip in read] == [(row["ytid"], row["caption"]) for row in rows]
    assert Counter(clip.is_audioset_eval for clip in read) == {True: 2858, False: 2663}
    assert {clip.end_s - clip.start_s for clip in read} == {10}
    aspects = [aspect for clip in read for aspect in clip.aspects]
    assert (len(aspects), len(set(aspects))) == (58901, 13219)
    assert sum('"' in row["aspect_list"] for row in rows) == 107


def test_of_the_genuine_clips_those_with_audio_are_found(tmp_path: Path) -> None:
    path = unpacked("musiccaps/musiccaps-public.csv", tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        present = [row["ytid"] for row in csv.DictReader(file)][::50]
    for name in present:
        (tmp_path / f"{name}.mp3").touch()
    faults = Faults()
    recordings = list(MusicCapsSource(str(tmp_path), MusicCapsConfig()).recordings(faults))
    assert [recording.audio.uri for recording in recordings] == [f"{tmp_path}/{name}.mp3" for name in present]
    assert faults.counts == {"missing audio": 5521 - len(present)}


def test_the_splits_of_the_genuine_table_are_those_of_audioset(tmp_path: Path) -> None:
    path = unpacked("musiccaps/musiccaps-public.csv", tmp_path)
    parts = {}
    for part in ("eval", "balanced_train"):
        with unpacked(f"audioset/{part}_segments.csv", tmp_path).open(newline="") as file:
            parts[part] = {row[0] for row in csv.reader(file, skipinitialspace=True)}
    for clip in captioned_clips("musiccaps=/d", "table.csv", path.read_bytes().decode()):
        assert clip.youtube_id in parts["eval" if clip.is_audioset_eval else "balanced_train"]


@pytest.mark.parametrize(("variant", "changed"), [("all_lf", 0), ("all_crlf", 1)])
def test_genuine_copies_with_other_line_ends_have_lost_nothing(variant: str, changed: int, tmp_path: Path) -> None:
    original = clips(unpacked("musiccaps/musiccaps-public.csv", tmp_path).read_bytes().decode())
    (tmp_path / variant).mkdir()
    copy = clips(
        unpacked(f"musiccaps/variants/{variant}/musiccaps-public.csv", tmp_path / variant).read_bytes().decode()
    )
    different = [(mine, theirs) for mine, theirs in zip(original, copy, strict=True) if mine != theirs]
    assert len(different) == changed
    assert all(mine.caption.replace(" \n", "\n") == theirs.caption for mine, theirs in different)  # a trailing blank

from pathlib import Path

import pytest

from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.sources.youtube_names import ClipFiles

HYPHEN, UNDERSCORE, Y = "-0RWZT-miFs", "a_b-c_30_40", "YtubeId_-30"
"""Ids that contain what separates an id from times, or begin like the prefix."""


def clip_files(*paths: str) -> ClipFiles:
    return ClipFiles(AudioFiles("/data", dict.fromkeys(paths, "1")))


@pytest.mark.parametrize("youtube_id", [HYPHEN, UNDERSCORE, Y, "___________", "-----------", "Y__30______"])
@pytest.mark.parametrize(
    ("name", "is_cut"),
    [
        ("{}.wav", False),
        ("Y{}.flac", False),
        ("{}_420.mp3", True),
        ("{}_420000.mp3", True),
        ("{}_420.000.mp3", True),
        ("{}_420_430.m4a", True),
        ("{}_420000_430000.opus", True),
        ("Y{}_420.000_430.000.wav", True),
        ("{}-420-430.wav", True),
        ("[{}]-[420-430].wav", True),
        ("eval_segments/Y{}.wav", False),
        ("eval/00/{}_420.wav", True),
    ],
)
def test_the_usual_names_are_recognized(youtube_id: str, name: str, is_cut: bool) -> None:
    path = name.format(youtube_id)
    file = clip_files("0.wav", path, "z.wav").find(youtube_id, 420)
    assert file is not None
    assert (file.location.uri, file.location.version, file.is_cut) == (f"/data/{path}", "1", is_cut)


@pytest.mark.parametrize(
    "path",
    [
        "0RWZT-miFs.wav",
        "-0RWZT-miFsX.wav",
        "YY-0RWZT-miFs.wav",
        "[-0RWZT-miFs].wav",
        "-0RWZT-miFs_a.wav",
        "x-0RWZT-miFs_420.wav",
    ],
)
def test_other_names_are_left_out(path: str) -> None:
    files = clip_files(path)
    assert files.find(HYPHEN, 420) is None


@pytest.mark.parametrize(("start_s", "time", "found"), [
    (30, "30", True), (30, "30000", True), (30.4, "30", True), (30.48, "30480", True), (0, "0", True),
    (30, "31", False), (30, "40", False), (30, "30002", False), (0, "30", False), (0, "10000", False),
    (300, "30", False),
])  # fmt: skip
def test_a_file_of_another_time_of_the_video_is_not_the_clip(start_s: float, time: str, found: bool) -> None:
    assert (clip_files(f"{HYPHEN}_{time}.wav").find(HYPHEN, start_s) is not None) == found


def test_of_several_files_the_one_of_the_time_is_preferred_and_then_the_first() -> None:
    names = [f"a/{HYPHEN}.wav", f"b/{HYPHEN}.mp3", f"c/{HYPHEN}_30_40.wav", f"d/{HYPHEN}_60_70.wav"]
    found = clip_files(*names)
    uris = [file.location.uri for start_s in (60, 30, 90) if (file := found.find(HYPHEN, start_s))]
    assert uris == [f"/data/{names[3]}", f"/data/{names[2]}", f"/data/{names[0]}"]
    assert len(found) == 1


def test_files_are_listed_from_a_folder(tmp_path: Path) -> None:
    for name in (f"x/y/{HYPHEN}.opus", f"{UNDERSCORE}.txt", f".hidden/{UNDERSCORE}.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = ClipFiles(AudioFiles.below(str(tmp_path)))
    file = files.find(HYPHEN, 0)
    assert file is not None
    assert file.location.uri == str(tmp_path / f"x/y/{HYPHEN}.opus")
    assert files.find(UNDERSCORE, 0) is None
    assert files.looked_for(UNDERSCORE) == f"audio named {UNDERSCORE}.*, or {UNDERSCORE}_START.*, below {tmp_path}"

import csv
from collections.abc import Iterable
from pathlib import Path

import pytest

from mulan.config.objectives import TaggingConfig
from mulan.data.corpus.metadata import check_metadata
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.audioset import AudioSetConfig, AudioSetSource
from mulan.preparation.sources.registry import KINDS
from mulan.storage import filesystem
from tests.public_metadata import unpacked

CLASSES = (
    "index,mid,display_name\n"
    '0,/m/04rlf,"Music"\n1,/m/09x0r,"Speech"\n2,/m/05zppz,"Male speech, man speaking"\n3,/m/064t9,"Pop music"\n'
)
MUSIC_ID, SPEECH_ID, POP_ID, ABSENT_ID = "-0RWZT-miFs", "--4gqARaEJE", "zz_TaK7CXJY", "_________-a"
TABLES = {
    "eval": (
        f'# num_segs=2\n{MUSIC_ID}, 420.000, 430.000, "/m/09x0r,/m/04rlf"\n{ABSENT_ID}, 0.000, 10.000, "/m/04rlf"\n'
    ),
    "balanced_train": f'{SPEECH_ID}, 0.000, 9.000, "/m/05zppz"\n',
    "unbalanced_train": f'{POP_ID}, 30.000, 40.000, "/m/064t9"\n',
}
AUDIO = (f"eval_segments/Y{MUSIC_ID}.wav", f"{SPEECH_ID}.mp3", f"train/{POP_ID}_30000_40000.opus")


def audioset(folder: Path, tables: Iterable[str] = TABLES, audio: Iterable[str] = AUDIO) -> Path:
    """Writes tables of segments and empty audio files to a folder."""
    (folder / "class_labels_indices.csv").write_text(CLASSES)
    for name in tables:
        (folder / f"{name}_segments.csv").write_text(TABLES[name])
    touch(folder, audio)
    return folder


def touch(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def recordings(folder: Path, faults: Faults | None = None, **options: bool) -> dict[str, FoundRecording]:
    source = AudioSetSource(str(folder), AudioSetConfig(**options))
    found = list(source.recordings(Faults() if faults is None else faults))
    assert list(source.recordings(Faults())) == found
    assert len({recording.recording_id for recording in found}) == len(found)
    return {recording.recording_id: recording for recording in found}


def test_clips_are_recordings_with_their_labels_as_texts_and_tags(tmp_path: Path) -> None:
    faults = Faults()
    found = recordings(audioset(tmp_path), faults)
    assert list(found) == [SPEECH_ID, MUSIC_ID, POP_ID]
    clip = found[MUSIC_ID]
    assert clip.audio.uri == f"{tmp_path}/eval_segments/Y{MUSIC_ID}.wav"
    assert clip.texts == {"audioset": ["Speech", "Music"]}
    assert clip.tags == ["audioset:Speech", "audioset:Music"]
    assert (clip.start_s, clip.end_s) == (None, None)
    assert clip.provenance == f"AudioSet eval, YouTube {MUSIC_ID}, 420-430 s"
    assert "CC BY 4.0" in clip.licence
    assert {name: clip.split for name, clip in found.items()} == {SPEECH_ID: "train", MUSIC_ID: "test", POP_ID: "train"}
    assert found[SPEECH_ID].tags == ["audioset:Male speech, man speaking"]
    assert faults.counts == {"missing audio": 1}
    assert faults.named["missing audio"][0].startswith(f"{ABSENT_ID}: there is no audio named {ABSENT_ID}.*")


def test_texts_and_tags_are_those_that_recipes_read(tmp_path: Path) -> None:
    found = recordings(audioset(tmp_path)).values()
    for clip in found:
        check_metadata({"texts": clip.texts, "tags": clip.tags, "split": clip.split, "duration_s": 10})
    assert all(tag.startswith(TaggingConfig().prefix) for clip in found for tag in clip.tags)


def test_any_storage_is_read(storage_uri: str) -> None:
    files = {"class_labels_indices.csv": CLASSES, "eval_segments.csv": TABLES["eval"], AUDIO[0]: "RIFF"}
    for name, content in files.items():
        filesystem.write_atomically(f"{storage_uri}/{name}", content.encode())
    (clip,) = AudioSetSource(storage_uri, AudioSetConfig()).recordings(Faults())
    assert filesystem.read_bytes(clip.audio.uri) == b"RIFF"
    assert clip.audio.version.startswith("4-")


def test_the_kind_has_a_section(tmp_path: Path) -> None:
    config = PreparationConfig().replace({"audioset.music_only": True}).audioset
    source = KINDS["audioset"](str(audioset(tmp_path)), config)
    assert [recording.recording_id for recording in source.recordings(Faults())] == [MUSIC_ID, POP_ID]


def test_only_clips_with_a_label_of_music(tmp_path: Path) -> None:
    faults = Faults()
    found = recordings(audioset(tmp_path), faults, music_only=True)
    assert list(found) == [MUSIC_ID, POP_ID]
    assert found[MUSIC_ID].tags == ["audioset:Speech", "audioset:Music"]
    assert faults.left_out == 1


def test_a_clip_is_a_part_of_a_full_video_unless_its_file_is_cut(tmp_path: Path) -> None:
    found = recordings(audioset(tmp_path), full_videos=True)
    parts = {name: (clip.start_s, clip.end_s) for name, clip in found.items()}
    assert parts == {SPEECH_ID: (0, 9), MUSIC_ID: (420, 430), POP_ID: (None, None)}


@pytest.mark.parametrize("tables", [("eval",), ("balanced_train",), ("unbalanced_train", "eval")])
def test_any_of_the_tables_suffices(tables: tuple[str, ...], tmp_path: Path) -> None:
    splits = {"eval": "test", "balanced_train": "train", "unbalanced_train": "train"}
    found = recordings(audioset(tmp_path, tables))
    assert sorted(clip.split for clip in found.values()) == sorted(splits[name] for name in tables)


def refusal(folder: Path) -> str:
    faults = Faults()
    with pytest.raises(SourceError) as error:
        next(AudioSetSource(str(folder), AudioSetConfig()).recordings(faults))
    assert str(error.value).startswith(f"source audioset={folder}")
    assert faults == Faults()
    return str(error.value)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    assert "has none of balanced_train_segments.csv, eval_segments.csv, unb" in refusal(audioset(tmp_path, ()))
    (tmp_path / "class_labels_indices.csv").unlink()
    assert f"there is no file {tmp_path}/class_labels_indices.csv; download it" in refusal(tmp_path)
    assert "there is no file" in refusal(tmp_path / "absent")


def test_the_faults_of_all_tables_are_listed_before_any_clip(tmp_path: Path) -> None:
    audioset(tmp_path)
    (tmp_path / "unbalanced_train_segments.csv").write_text(TABLES["unbalanced_train"].replace("/m/064t9", "/m/0"))
    (tmp_path / "eval_segments.csv").write_text(TABLES["eval"].replace("num_segs=2", "num_segs=9"))
    message = refusal(tmp_path)
    assert "has 2 faults" in message
    assert f"{tmp_path}/eval_segments.csv, line 3: the table ends after 2 of the 9 segments" in message
    assert f"{tmp_path}/unbalanced_train_segments.csv, line 1: its label /m/0 is not in" in message


def test_a_video_in_two_tables_is_refused(tmp_path: Path) -> None:
    audioset(tmp_path)
    (tmp_path / "unbalanced_train_segments.csv").write_text(TABLES["eval"])
    assert "unbalanced_train_segments.csv, lines 2, 3: the video was listed before" in refusal(tmp_path)


def test_the_genuine_evaluation_clips_have_all_classes_of_the_tagging_recipe(tmp_path: Path) -> None:
    unpacked("audioset/class_labels_indices.csv", tmp_path)
    with unpacked("audioset/eval_segments.csv", tmp_path).open(newline="") as file:
        rows = list(csv.reader(file, skipinitialspace=True))[3:]
    present, classes = [], set[str]()
    for row in rows:
        if not classes.issuperset(row[3].split(",")):
            present.append(row[0])
            classes.update(row[3].split(","))
    touch(tmp_path, (f"eval_segments/Y{name}.wav" for name in present))
    faults = Faults()
    found = list(AudioSetSource(str(tmp_path), AudioSetConfig()).recordings(faults))
    assert [clip.recording_id for clip in found] == present
    assert len({tag for clip in found for tag in clip.tags}) == TaggingConfig().classes == 527
    assert {clip.split for clip in found} == {"test"}
    assert faults.left_out == 20371 - len(present)
    of_music = Faults()
    music = list(AudioSetSource(str(tmp_path), AudioSetConfig(music_only=True)).recordings(of_music))
    assert len(music) + of_music.left_out == 7848

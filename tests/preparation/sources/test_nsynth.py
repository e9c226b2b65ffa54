"""Tests NSynth's importer on the beginning of an official file, on files of the official size, and on damaged ones."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.nsynth import NsynthConfig, NsynthSource
from mulan.preparation.sources.registry import KINDS
from tests.public_metadata import unpacked

FAMILIES = ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal")
QUALITIES = (
    "bright", "dark", "distortion", "fast_decay", "long_release", "multiphonic", "nonlinear_env", "percussive",
    "reverb", "tempo-synced"
)  # fmt: skip


def note(name: str, **changes: Any) -> dict[str, Any]:
    """Returns an entry of ``examples.json`` by the name of the note: ``FAMILY_SOURCE_INSTRUMENT-PITCH-VELOCITY``."""
    instrument, pitch, velocity = name.rsplit("-", 2)
    family, source, _ = instrument.rsplit("_", 2)
    entry = {
        "note": 7,
        "note_str": name,
        "instrument": 3,
        "instrument_str": instrument,
        "pitch": int(pitch),
        "velocity": int(velocity),
        "sample_rate": 16000,
        "qualities": [0] * 10,
        "qualities_str": [],
        "instrument_family": FAMILIES.index(family),
        "instrument_family_str": family,
        "instrument_source": 0,
        "instrument_source_str": source,
    }
    return {name: entry | changes}


NOTES = note("bass_synthetic_068-049-025", qualities_str=["dark", "fast_decay"]) | note("vocal_acoustic_000-127-100")


def written(folder: Path, split: str, notes: Any, *, audio: bool = True, extension: str = "wav") -> NsynthSource:
    (folder / f"nsynth-{split}/audio").mkdir(parents=True, exist_ok=True)
    text = notes if isinstance(notes, str) else json.dumps(notes, indent=4)
    (folder / f"nsynth-{split}/examples.json").write_text(text, encoding="utf-8")
    for name in notes if audio else ():
        (folder / f"nsynth-{split}/audio/{name}.{extension}").touch()
    return NsynthSource(str(folder), NsynthConfig())


def found(folder: Path) -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    return list(KINDS["nsynth"](str(folder), PreparationConfig().nsynth).recordings(faults)), faults


def test_the_official_notes_are_read_as_they_are(tmp_path: Path) -> None:
    text = unpacked("nsynth/nsynth-test/examples.head23.json", tmp_path).read_text(encoding="utf-8")
    source, entries = written(tmp_path, "test", text, audio=False), json.loads(text)
    notes = list(source.notes("nsynth-test"))
    assert len(notes) == 23
    assert Counter(note.family for note in notes) == {
        "bass": 5, "guitar": 4, "keyboard": 3, "organ": 3, "flute": 2, "string": 2, "reed": 1, "vocal": 1, "brass": 1,
        "mallet": 1
    }  # fmt: skip
    for read, (name, entry) in zip(notes, entries.items(), strict=True):
        assert read.name == name
        assert read.name == f"{read.instrument}-{read.pitch:03d}-{entry['velocity']:03d}"
        assert read.instrument.startswith(f"{read.family}_{read.source}_")
        # the binary qualities are in the order of their names
        assert list(read.qualities) == list(itertools.compress(QUALITIES, entry["qualities"]))


def test_notes_have_tags_splits_and_instruments(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        number = {"train": "001", "valid": "002", "test": "003"}[split]
        written(
            tmp_path, split, {**note(f"synth_lead_electronic_{number}-060-075"), **(NOTES if split == "test" else {})}
        )
    recordings, faults = found(tmp_path)
    assert [(each.recording_id, each.split) for each in recordings] == [
        ("synth_lead_electronic_001-060-075", "train"),
        ("synth_lead_electronic_002-060-075", "validation"),
        ("synth_lead_electronic_003-060-075", "test"),
        ("bass_synthetic_068-049-025", "test"),
        ("vocal_acoustic_000-127-100", "test"),
    ]
    assert recordings[0].tags == ["instrument:synth_lead", "source:electronic", "pitch:60"]
    assert recordings[3].tags == [
        "instrument:bass", "source:synthetic", "pitch:49", "quality:dark", "quality:fast_decay"
    ]  # fmt: skip
    assert recordings[3].artist == "bass_synthetic_068"
    assert recordings[3].audio.uri == str(tmp_path / "nsynth-test/audio/bass_synthetic_068-049-025.wav")
    assert faults.left_out == 0
    assert found(tmp_path)[0] == recordings


def test_audio_in_flac_is_found_and_missing_audio_counted(tmp_path: Path) -> None:
    written(tmp_path, "valid", NOTES, extension="flac")
    (tmp_path / "nsynth-valid/audio/vocal_acoustic_000-127-100.flac").unlink()
    recordings, faults = found(tmp_path)
    assert [each.audio.uri for each in recordings] == [
        str(tmp_path / "nsynth-valid/audio/bass_synthetic_068-049-025.flac")
    ]
    missing = f"vocal_acoustic_000-127-100: there is no {tmp_path}/nsynth-valid/audio/vocal_acoustic_000-127-100.wav"
    assert faults.named == {"missing audio": [missing]}


def test_a_file_of_the_official_size_is_read_in_its_order(tmp_path: Path) -> None:
    """The official test file has 4,096 notes, of 3 MB; that for training has 289,205."""
    entries = itertools.islice(itertools.product(FAMILIES, range(128), range(10)), 4096)
    names = [f"{family}_acoustic_{number:03d}-{pitch:03d}-100" for family, pitch, number in entries]
    written(tmp_path, "test", {name: entry for name in names for entry in note(name).values()}, audio=False)
    source = NsynthSource(str(tmp_path), NsynthConfig())
    assert [read.name for read in source.notes("nsynth-test")] == names


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"source nsynth={tmp_path}: there is no nsynth-train, nsynth-valid, nsynth-"):
        found(tmp_path)
    written(tmp_path, "test", NOTES)
    (tmp_path / "nsynth-test/audio").rename(tmp_path / "nsynth-test/sounds")
    with pytest.raises(SourceError, match=r"there is no folder .*/nsynth-test/audio; unpack the nsynth-"):
        found(tmp_path)
    (tmp_path / "nsynth-test/examples.json").unlink()
    (tmp_path / "nsynth-test/sounds").rename(tmp_path / "nsynth-test/audio")
    with pytest.raises(SourceError, match=r"there is no file .*/nsynth-test/examples.json; unpack the nsynth-"):
        found(tmp_path)


WRONG = {
    "instrument_str": 3,
    "instrument_family_str": "",
    "instrument_source_str": None,
    "pitch": 128,
    "qualities_str": "dark",
    "note_str": "../../other",
}


@pytest.mark.parametrize("field", WRONG)
def test_damaged_notes_are_named_with_line_and_remedy(tmp_path: Path, field: str) -> None:
    notes = NOTES | note("organ_acoustic_000-001-100", **{field: WRONG[field]})
    written(tmp_path, "test", notes)
    text = (tmp_path / "nsynth-test/examples.json").read_text()
    line = 1 + text[: text.index('"organ_acoustic_000-001-100": {')].count("\n")
    fault = f"organ_acoustic_000-001-100: wrong or missing {field}; unpack the nsynth-"
    with pytest.raises(SourceError, match=f"source nsynth={tmp_path}: .*/examples.json, line {line}: {fault}"):
        found(tmp_path)


def test_all_damaged_notes_are_named_at_once(tmp_path: Path) -> None:
    notes = {"a": [], **NOTES, "b": {}, **note("organ_acoustic_000-001-100", pitch=True)}
    with pytest.raises(SourceError) as raised:
        list(written(tmp_path, "test", notes, audio=False).notes("nsynth-test"))
    first, second, third = raised.value.faults
    assert "a: a list instead of an object" in first
    assert "b: wrong or missing instrument_str, instrument_family_str, instrument_source_str, pitch, quali" in second
    assert "wrong or missing pitch;" in third


@pytest.mark.parametrize("cut", [1, 100, 700])
def test_a_truncated_file_is_named(tmp_path: Path, cut: int) -> None:
    source = written(tmp_path, "test", json.dumps(NOTES, indent=4)[:-cut], audio=False)
    with pytest.raises(SourceError, match=r"/examples.json, line \d+: truncated or damaged JSON: .*; unpack"):
        list(source.notes("nsynth-test"))

"""Tests the models that judge recordings, and that missing ones are refused before any work."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mulan.config.errors import MulanError
from mulan.preparation.clips import make_clip
from mulan.preparation.faults import SettingsError
from mulan.preparation.judges import check_judges, judges_of, judges_sha256, music_judge, text_judge
from mulan.preparation.settings import ClipConfig, PreparationConfig
from mulan.preparation.shards import DecodedRecording
from mulan.preparation.texts import classifier
from tests.preparation.sources_of_tests import tones


def is_high(waveform: np.ndarray, rate_hz: int) -> float:
    """Returns 1 for a tone above 105 Hz, as a detector of music."""
    return float(np.abs(np.fft.rfft(waveform)).argmax() * rate_hz / len(waveform) > 105)


class KeepsTakeTwo:
    """A classifier that keeps the texts of take 1."""

    def keep(self, texts: list[str]) -> list[bool]:
        return ["take 1" in text for text in texts]


@pytest.fixture
def recordings(tmp_path: Path) -> list[DecodedRecording]:
    """Tones of 100 and 110 Hz."""
    clips = [(found, make_clip(found.audio.uri, ClipConfig())) for found in tones(tmp_path / "tones", 2)]
    return [DecodedRecording(found=found, clip=clip) for found, clip in clips]


def test_no_judges_by_default() -> None:
    assert judges_of(PreparationConfig()) == []
    assert check_judges(PreparationConfig()) == []


def test_judges_come_in_the_order_of_their_cost_to_the_others() -> None:
    config = PreparationConfig.model_validate(
        {"music": {"tagger": "a", "use_gpu": True}, "text": {"filter": "b", "filter_use_gpu": False}}
    )
    specs = judges_of(config)
    assert [(spec.load, spec.section, spec.use_gpu) for spec in specs] == [
        (music_judge, config.music, True),
        (text_judge, config.text, False),
    ]


def test_what_is_not_music_is_left_out_with_its_share(recordings: list[DecodedRecording]) -> None:
    config = PreparationConfig.model_validate({"music": {"tagger": f"python:{__name__}:is_high"}})
    judge = music_judge(config.music)
    low, high = map(judge, recordings)
    assert (low.clip, low.reason, low.detail) == (None, "not music", "0% of it is music, less than 50%")
    assert (low.music_share, high.music_share) == (0.0, 1.0)
    assert high.clip is not None
    assert "function" in check_judges(config)[0] or "is_high" in check_judges(config)[0]


def test_refused_texts_are_removed_and_listed(
    recordings: list[DecodedRecording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier.TextClassifier, "load", lambda uri, device: KeepsTakeTwo())
    judge = text_judge(PreparationConfig.model_validate({"text": {"filter": "x"}}).text)
    first, second = map(judge, recordings)
    assert first.removed_texts == ("A steady tone, take 0.",)
    assert list(first.found.texts["long_form"]) == []
    assert second.removed_texts == ()
    assert list(second.found.texts["long_form"]) == ["A steady tone, take 1."]
    assert first.found.texts["short_form"] == recordings[0].found.texts["short_form"]


@pytest.mark.parametrize(("use_gpu", "expected"), [(False, "cpu"), (True, "cuda")])
def test_the_classifier_is_on_the_device_that_its_actors_reserve(
    monkeypatch: pytest.MonkeyPatch, use_gpu: bool, expected: str
) -> None:
    devices = []
    monkeypatch.setattr(classifier.TextClassifier, "load", lambda uri, device: devices.append(device))
    config = PreparationConfig.model_validate({"text": {"filter": "x", "filter_use_gpu": use_gpu}}).text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    text_judge(config)
    assert devices == [expected]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if use_gpu:
        with pytest.raises(SettingsError, match=r"text.filter_use_gpu is set, but torch sees no GPU here; set it"):
            text_judge(config)


@pytest.mark.parametrize("field", ["music.tagger", "text.filter"])
def test_models_that_do_not_exist_are_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(MulanError, match="nowhere"):
        check_judges(PreparationConfig().replace({field: str(tmp_path / "nowhere")}))


def test_the_digest_of_a_model_is_that_of_its_files(tmp_path: Path) -> None:
    config = PreparationConfig().replace({"text.filter": str(filter_in(tmp_path / "filter"))})
    before = judges_sha256(config)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "filter").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    assert judges_sha256(PreparationConfig().replace({"text.filter": str(tmp_path / "copy")})) == before
    (tmp_path / "filter" / "model.safetensors").write_bytes(b"other weights")
    assert judges_sha256(config) != before
    functions = [PreparationConfig().replace({"music.tagger": f"python:{name}"}) for name in ("a:b", "c:d")]
    assert judges_sha256(functions[0]) == judges_sha256(functions[1])


def filter_in(folder: Path) -> Path:
    """Writes the files that a text filter has, with any content."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "text_filter.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder

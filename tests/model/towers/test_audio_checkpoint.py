"""Tests the loading of audio checkpoints: what is supported, what is refused and why, and their values in exports."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from mulan.model.towers.audio_checkpoint import AudioCheckpoint
from mulan.storage.hub import PretrainedError
from mulan.tasks.audio_encoder import encoder_from_recipe
from tests.conftest import S3
from tests.model.audio_checkpoints import RATES_HZ, SMALL, checkpoint_recipe, save_checkpoint, save_mert


def load(kind: str, spec: str, *, window_s: float = 0.5, rate_hz: int | None = None, **tower: Any) -> AudioCheckpoint:
    rate_hz = rate_hz or RATES_HZ[kind]
    section = checkpoint_recipe(kind, spec, **tower).audio_tower
    return AudioCheckpoint.load(section, sample_rate_hz=rate_hz, window_samples=round(window_s * rate_hz))


@pytest.mark.parametrize("kind", SMALL)
def test_is_rebuilt_from_values_that_are_json(kind: str, tmp_path: Path) -> None:
    loaded = load(kind, save_checkpoint(kind, tmp_path))
    values = json.loads(json.dumps([loaded.network_values, loaded.extractor_values]))
    built = AudioCheckpoint.from_values(*values, loaded.licence)
    assert type(built.network) is type(loaded.network)
    assert {n: t.shape for n, t in built.network.state_dict().items()} == {
        n: t.shape for n, t in loaded.network.state_dict().items()
    }
    assert built.network_values == loaded.network_values
    assert built.extractor_values == loaded.extractor_values


def test_only_the_encoder_is_loaded(tmp_path: Path) -> None:
    for kind in ("whisper", "clap", "wav2vec2"):
        names = load(kind, save_checkpoint(kind, tmp_path / kind)).network.state_dict()
        assert not [name for name in names if re.search(r"decoder|text_model|projection\.linear|lm_head", name)]


def test_mert_is_hubert_and_its_own_code_is_not_run(tmp_path: Path) -> None:
    waveform = torch.randint(-9000, 9000, (2, 8000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    specs = save_mert(tmp_path / "mert"), save_checkpoint("hubert", tmp_path / "hubert")
    mert, hubert = (encoder_from_recipe(checkpoint_recipe("hubert", spec)).eval()(waveform) for spec in specs)
    assert torch.equal(mert, hubert)


@pytest.mark.parametrize("setting", ["feature_extractor_cqt", "deepnorm"])
def test_mert_with_a_network_of_its_own_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=f"{setting} is set, with which MERT's network is not that of HuBERT"):
        load("hubert", save_mert(tmp_path, **{setting: True}))


def test_other_sample_rate(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"expects 48000 Hz, but data\.sample_rate_hz = 16000\. Change"):
        load("clap", save_checkpoint("clap", tmp_path), rate_hz=16_000)


def test_all_fields_that_do_not_fit_the_checkpoint_are_listed(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError) as caught:
        load("clap", save_checkpoint("clap", tmp_path), rate_hz=16_000, window_s=1.5, layers="weighted")
    rate, window, layers = caught.value.faults
    assert "data.sample_rate_hz = 16000" in rate
    assert window.endswith("has 1.5 s, but it processes at most 1 s")
    assert "audio_tower.layers must be last" in layers


@pytest.mark.parametrize(
    ("kind", "window_s", "fault"),
    [
        ("hubert", 0.008, r"has 0\.008 s, but it processes at least 0\.008125 s"),
        ("whisper", 1.1, r"has 1\.1 s, but it processes at most 1 s"),
        ("clap", 1.5, r"has 1\.5 s, but it processes at most 1 s"),
        ("ast", 0.64, r"has 0\.64 s, but it processes at most 0\.6249.* s"),
        ("ast", 0.024, r"has 0\.024 s, but it processes at least 0\.025 s"),
    ],
)
def test_windows_that_the_checkpoint_cannot_process(kind: str, window_s: float, fault: str, tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=rf"data\.window_s.*{fault}"):
        load(kind, save_checkpoint(kind, tmp_path), window_s=window_s)


@pytest.mark.parametrize(
    ("kind", "window_s"), [("hubert", 130 / 16_000), ("whisper", 1.0), ("clap", 1.0), ("ast", 0.6249), ("ast", 0.025)]
)
def test_longest_and_shortest_windows(kind: str, window_s: float, tmp_path: Path) -> None:
    recipe = checkpoint_recipe(kind, save_checkpoint(kind, tmp_path)).replace({"data.window_s": window_s})
    waveform = torch.ones(1, recipe.data.window_samples, dtype=torch.int16)
    assert encoder_from_recipe(recipe).eval()(waveform).isfinite().all()


def test_layers_of_different_width_are_not_weighted(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"differ in width, so that audio_tower\.layers must be last"):
        load("clap", save_checkpoint("clap", tmp_path), layers="weighted")


def test_a_checkpoint_in_s3_equals_that_in_a_folder(s3: S3, tmp_path: Path) -> None:
    spec = save_checkpoint("whisper", tmp_path)
    for file in tmp_path.iterdir():
        s3.files.put_file(str(file), f"{s3.uri}/whisper/{file.name}")
    here, there = load("whisper", spec), load("whisper", f"{s3.uri}/whisper")
    assert there.licence == here.licence
    assert there.licence.name == "cc-by-nc-4.0"
    assert there.extractor_values == here.extractor_values
    weights = here.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in there.network.state_dict().items())


def _without_extractor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _with_other_extractor(folder: Path) -> None:
    Wav2Vec2FeatureExtractor().save_pretrained(folder)


def _with_other_mel_channels(folder: Path) -> None:
    WhisperFeatureExtractor(feature_size=40, chunk_length=1).save_pretrained(folder)


def _with_dither(folder: Path) -> None:
    WhisperFeatureExtractor(feature_size=20, chunk_length=1, dither=0.1).save_pretrained(folder)


def _with_a_list(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("[]")


def _of_text(folder: Path) -> None:
    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)).save_pretrained(
        folder
    )


def _of_nothing(folder: Path) -> None:
    (folder / "config.json").write_text('{"format": "mulan-encoder-2"}')


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _of_the_decoder(folder: Path) -> None:
    kept = {name: t for name, t in load_file(folder / "model.safetensors").items() if not name.startswith("encoder")}
    save_file(kept | {"filler": torch.zeros(100_000)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (_without_extractor, r"no feature extractor in .* \(looked for preprocessor_config\.json\)"),
        (
            _with_other_extractor,
            "describes a Wav2Vec2FeatureExtractor, but the network needs a WhisperFeatureExtractor",
        ),
        (_with_other_mel_channels, "cannot be run on the output of its feature extractor"),
        (_with_dither, r"dither = 0\.1; random noise is not supported"),
        (_with_a_list, r"preprocessor_config\.json cannot be used"),
        (_of_text, "describes a network of type 'bert'"),
        (_of_nothing, "describes no network of transformers"),
        (_without_weights, "no weights in"),
        (_of_the_decoder, r"has no weights for conv1\.bias"),
    ],
)
def test_unusable_folders(damage: Callable[[Path], None], fault: str, tmp_path: Path) -> None:
    spec = save_checkpoint("whisper", tmp_path)
    damage(tmp_path)
    with pytest.raises(PretrainedError, match=fault) as raised:
        load("whisper", spec)
    assert "\n" not in str(raised.value)
    assert "audio_tower.pretrained" in str(raised.value)

"""Tests that the probabilities of an Audio Spectrogram Transformer are those that ``transformers`` computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ASTFeatureExtractor, ASTForAudioClassification, ASTModel

from mulan.preparation.ast_tagger import AstCheckpoint, AstTagger
from mulan.storage.hub import PretrainedError
from tests.preparation.ast_checkpoints import LABELS, change, save_ast
from tests.sounds import tone


def load(folder: Path) -> AstTagger:
    return AstTagger.load(AstCheckpoint.read(str(folder), folder), device=torch.device("cpu"))


def windows_of(tagger: AstTagger, count: int) -> np.ndarray:
    seconds = tagger.window_samples / tagger.sample_rate_hz
    rows = [tone(100 * 1.3**k, seconds, rate_hz=tagger.sample_rate_hz, seed=k) for k in range(count)]
    return np.rint(np.stack(rows) * 32767).astype(np.int16)


@pytest.mark.parametrize(("max_length", "window_samples"), [(60, 9840), (128, 16_000)])
@pytest.mark.parametrize("normalizes", [True, False])
def test_probabilities_are_those_of_transformers(
    max_length: int, window_samples: int, normalizes: bool, tmp_path: Path
) -> None:
    save_ast(tmp_path, max_length=max_length)
    change(tmp_path / "preprocessor_config.json", do_normalize=normalizes)
    tagger = load(tmp_path)
    assert tagger.tags == LABELS
    assert (tagger.sample_rate_hz, tagger.window_samples) == (16_000, window_samples)
    windows = windows_of(tagger, 18)
    rows = tagger.tag_windows(windows)
    assert rows.dtype == np.float32

    extractor = ASTFeatureExtractor.from_pretrained(tmp_path)
    network = ASTForAudioClassification.from_pretrained(tmp_path).eval()
    waveforms = [window.astype(np.float32) / 32768 for window in windows]
    features = extractor(waveforms, sampling_rate=16_000, return_tensors="np")["input_values"]
    with torch.no_grad():
        logits = network(torch.from_numpy(np.array(features, np.float32))).logits.double().numpy()
    np.testing.assert_allclose(rows, 1 / (1 + np.exp(-logits)), atol=2e-4)
    assert np.ptp(rows, axis=0).min() > 0.02  # every class depends on the window
    assert tagger.tag_windows(windows[:0]).shape == (0, len(LABELS))


def test_windows_are_the_whole_seconds_of_the_public_checkpoints(tmp_path: Path) -> None:
    save_ast(tmp_path, max_length=1024)
    assert AstCheckpoint.read("ast", tmp_path).window_samples == 10 * 16_000


def test_the_weights_may_be_pickled_but_only_tensors_are_read(tmp_path: Path) -> None:
    save_ast(tmp_path)
    expected = load(tmp_path).tag_windows(np.zeros((1, 9840), np.int16))
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    np.testing.assert_allclose(load(tmp_path).tag_windows(np.zeros((1, 9840), np.int16)), expected, atol=1e-6)
    torch.save({**weights, "code": Path("/")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PretrainedError, match="cannot be loaded"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "values", "fault"),
    [
        ("config.json", {"model_type": "hubert"}, r"config\.json cannot be used: it describes a network of type 'hub"),
        ("config.json", {"model_type": None}, "it describes no network of transformers"),
        ("config.json", {"id2label": {"0": "Music", "2": "Speech"}}, "id2label has no name for class 1"),
        ("config.json", {"max_length": 70}, r"max_length is 60 in preprocessor_config\.json, but 70 in config"),
        ("config.json", {"hidden_size": "wide"}, r"config\.json cannot be used"),
        ("preprocessor_config.json", {"num_mel_bins": 30}, "num_mel_bins is 30"),
        ("preprocessor_config.json", {"feature_extractor_type": "ClapFeatureExtractor"}, "needs an ASTFeatureExtract"),
    ],
)
def test_checkpoints_that_cannot_be_used(file: str, values: dict[str, Any], fault: str, tmp_path: Path) -> None:
    save_ast(tmp_path)
    change(tmp_path / file, **values)
    with pytest.raises(PretrainedError, match=fault) as caught:
        AstCheckpoint.read("hub:some/model", tmp_path)
    assert "hub:some/model" in str(caught.value)
    assert "Set music.tagger to" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_damaged_files(file: str, content: str | None, tmp_path: Path) -> None:
    save_ast(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(PretrainedError, match=f"{file} cannot be used"):
        AstCheckpoint.read("model", tmp_path)


def test_a_network_without_its_classifier_is_refused(tmp_path: Path) -> None:
    save_ast(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    ASTModel.from_pretrained(tmp_path).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(PretrainedError, match=r"has no weights for .*classifier\.dense\.weight"):
        load(tmp_path)


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    save_ast(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["classifier.dense.bias"] = torch.zeros(9)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PretrainedError, match=r"classifier\.dense\.bias has shape \[9\] in its file, but \[4\]"):
        load(tmp_path)

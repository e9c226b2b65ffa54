"""Tests that exported taggers of every family compute as in training, and that other models are rejected."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

import mulan
from mulan.config.audio import PretrainedTowerConfig
from mulan.config.objectives import TaggingConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import TextTowerConfig
from mulan.data.errors import DecodeError
from mulan.model.inference.files import ModelFolderError
from mulan.model.inference.inputs import EmbeddingInputError
from mulan.model.inference.tagger import Tagger
from mulan.model.tagging import TaggingModel
from mulan.tasks.audio_encoder import export_encoder
from mulan.tasks.joint import JointTask
from mulan.tasks.tagging import TaggingTask, export_tagger
from tests.model.audio_checkpoints import SMALL, checkpoint_recipe, save_checkpoint
from tests.model.small import AST, RESNET, small_mulap, small_recipe
from tests.sounds import tone
from tests.training.small import small

TAGS = ("audioset:Music", "audioset:Piano", "audioset:Speech")


def resnet() -> Recipe:
    return small_recipe(RESNET)


FAMILIES: dict[str, Callable[[], Recipe]] = {
    "resnet": resnet,
    "ast": lambda: small_recipe(AST),
    "musicnn": small_mulap,
    "samplecnn": lambda: small("semisupcon", "data.window_s=0.3"),
}


class Exported(NamedTuple):
    tagger: Tagger
    model: TaggingModel
    """The model that was exported, in evaluation mode."""
    folder: Path


def of_tagging(recipe: Recipe) -> Recipe:
    weights = dict.fromkeys(recipe.loss.weights.model_dump(), 0.0) | {"tagging": 1.0}
    return recipe.replace(
        {"loss.weights": weights}, text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=len(TAGS))
    )


def windows_of(rate_hz: int, window_samples: int, windows: float, *, seed: int = 0) -> np.ndarray:
    """Returns a recording, int16 [samples], of this many windows."""
    samples = tone(200 + 150 * seed, windows * window_samples / rate_hz, rate_hz=rate_hz, seed=seed)
    return np.rint(samples * 32767).astype(np.int16)


def sound(tagger: Tagger, windows: float, *, seed: int = 0) -> np.ndarray:
    return windows_of(tagger.sample_rate_hz, tagger.window_samples, windows, seed=seed)


def trained(recipe: Recipe) -> TaggingModel:
    """Returns a tagger in evaluation mode whose running statistics are those of tones, with logits of unit size."""
    torch.manual_seed(0)
    model = TaggingTask(recipe).build_model().train()
    sounds = [windows_of(recipe.data.sample_rate_hz, recipe.encoder_window_samples, 1, seed=seed) for seed in range(8)]
    waveform = torch.from_numpy(np.stack(sounds)[:, None])
    with torch.no_grad():
        for _ in range(20):
            model(waveform)
        model.eval()
        logits = model(waveform)
        model.classifier.bias -= logits.mean(dim=0)
        for parameter in (model.classifier.weight, model.classifier.bias):
            parameter /= logits.std(dim=0).max()
    return model


def export(recipe: Recipe, folder: Path) -> Exported:
    model = trained(recipe)
    export_tagger(model, recipe, TAGS, folder)
    if isinstance(recipe.audio_tower, PretrainedTowerConfig):
        shutil.rmtree(recipe.audio_tower.pretrained)
    return Exported(Tagger.from_pretrained(folder, device="cpu"), model, folder)


@pytest.fixture(scope="module", params=[*FAMILIES, *SMALL])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("tagger")
    if request.param in FAMILIES:
        return export(of_tagging(FAMILIES[request.param]()), folder / "model")
    checkpoint = save_checkpoint(request.param, folder / "checkpoint")
    return export(of_tagging(checkpoint_recipe(request.param, checkpoint)), folder / "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an exported tagger that a test may damage."""
    return export(of_tagging(resnet()), tmp_path / "model").folder


def probabilities(model: TaggingModel, windows: np.ndarray) -> np.ndarray:
    """Computes probabilities from the logits of training, in float64."""
    with torch.no_grad():
        logits = [model(torch.from_numpy(window[None, None]))[0].double().numpy() for window in windows]
    result: np.ndarray = 1 / (1 + np.exp(-np.array(logits)))
    return result


def test_windows_have_the_probabilities_of_the_trained_model(exported: Exported) -> None:
    tagger = exported.tagger
    windows = np.stack([sound(tagger, 1, seed=seed) for seed in range(18)])
    rows = tagger.tag_windows(windows)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, probabilities(exported.model, windows), atol=3e-5)
    assert np.ptp(rows, axis=0).max() > 0.1  # the windows differ
    assert np.ptp(rows[0]) > 0.1  # the classes differ
    assert tagger.tag_windows(windows[:0]).shape == (0, len(TAGS))


def test_the_probabilities_of_a_recording_are_the_mean_over_its_windows(exported: Exported) -> None:
    tagger, length = exported.tagger, exported.tagger.window_samples
    recordings = [sound(tagger, windows, seed=seed) for seed, windows in enumerate((0.7, 1, 2.3))]
    rows = tagger.tag_audio(recordings, tagger.sample_rate_hz)
    assert rows.dtype == np.float32
    for recording, row in zip(recordings, rows, strict=True):
        count = -(-len(recording) // length)
        starts = [round(k * (len(recording) - length) / max(1, count - 1)) for k in range(count)]
        windows = np.zeros((count, length), np.int16)
        for window, start in zip(windows, starts, strict=True):
            part = recording[max(0, start) :][:length]
            window[: len(part)] = part
        np.testing.assert_allclose(row, probabilities(exported.model, windows).mean(axis=0), atol=3e-5)


def test_the_properties_are_those_of_the_export(exported: Exported) -> None:
    config = json.loads((exported.folder / "config.json").read_text())
    tagger = exported.tagger
    assert tagger.tags == TAGS
    assert (tagger.sample_rate_hz, tagger.window_samples) == (config["sample_rate_hz"], config["window_samples"])
    assert tagger.tag_audio([]).shape == (0, len(TAGS))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(of_tagging(resnet()), tmp_path_factory.mktemp("tagger") / "model")


def test_every_form_of_a_recording_has_the_same_bits_whatever_else_is_in_the_call(
    one: Exported, tmp_path: Path
) -> None:
    tagger, rate_hz = one.tagger, one.tagger.sample_rate_hz
    recordings = [sound(tagger, windows, seed=seed) for seed, windows in enumerate((0.5, 2.2, 17.5))]
    together = tagger.tag_audio(iter(recordings), rate_hz)
    soundfile.write(tmp_path / "sound.wav", recordings[1], rate_hz, subtype="PCM_16")
    forms: list[Any] = [tmp_path / "sound.wav", recordings[1] / np.float32(32768), np.stack([recordings[1]] * 2)]
    for form in forms:
        np.testing.assert_array_equal(tagger.tag_audio([form], rate_hz)[0], together[1])
    items = [tmp_path / "missing.wav", *forms]
    rows, skipped = tagger.tag_audio(items, rate_hz, on_error="skip")
    np.testing.assert_array_equal(rows, together[[1, 1, 1]])
    assert [(item.name, item.reason) for item in skipped] == [(str(tmp_path / "missing.wav"), "missing file")]
    with pytest.raises(DecodeError, match=r"missing\.wav"):
        tagger.tag_audio(items, rate_hz)


def test_messages_name_the_function(one: Exported) -> None:
    with pytest.raises(EmbeddingInputError, match=r"^tag_windows takes an int16 array"):
        one.tagger.tag_windows(np.zeros((1, 3), np.int16))
    with pytest.raises(EmbeddingInputError, match=r"^tag_audio takes a list of paths"):
        one.tagger.tag_audio("song.mp3")


def test_computes_in_float32_at_any_precision_of_training(tmp_path: Path) -> None:
    recipe = of_tagging(resnet())
    exact = trained(recipe)
    rounded = trained(recipe.replace({"train.precision": "bf16"}))
    rounded.load_state_dict(exact.state_dict())
    export_tagger(rounded, recipe, TAGS, tmp_path)
    tagger = Tagger.from_pretrained(tmp_path, device="cpu")
    window = sound(tagger, 1)[None]
    np.testing.assert_allclose(tagger.tag_windows(window), probabilities(exact, window), atol=1e-7)
    assert np.abs(tagger.tag_windows(window) - probabilities(rounded, window)).max() > 1e-5


def test_loads_from_a_uri_without_changing_the_random_state_of_the_caller(one: Exported) -> None:
    uri = f"memory://{uuid.uuid4().hex}/run/model"
    fsspec.filesystem("memory").put(f"{one.folder}/", f"{uri}/", recursive=True)
    before = torch.get_rng_state()
    from_uri = mulan.Tagger.from_pretrained(uri, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    windows = sound(one.tagger, 1)[None]
    np.testing.assert_array_equal(from_uri.tag_windows(windows), one.tagger.tag_windows(windows))


def test_damaged_folders_are_rejected(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFolderError) as caught:
        Tagger.from_pretrained(tmp_path / "empty")
    assert caught.value.faults == ("config.json is missing", "model.safetensors is missing")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"classes": TAGS[:2]}))
    with pytest.raises(ModelFolderError, match=r"(?s)does not fit.*classifier\.weight"):
        Tagger.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"format": "mulan-tagger-2"}))
    with pytest.raises(ModelFolderError, match=r"sample_rate_hz.*classes"):
        Tagger.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "classifier" not in name}, folder / "model.safetensors"
    )
    with pytest.raises(ModelFolderError, match=r"(?s)does not fit.*classifier\.bias"):
        Tagger.from_pretrained(folder)


def test_models_of_other_formats_are_rejected_with_an_explanation(tmp_path: Path) -> None:
    recipe = resnet()
    model = JointTask(recipe).build_model()
    JointTask(recipe).export(model, tmp_path / "joint")
    export_encoder(model.audio_encoder, recipe, tmp_path / "encoder")
    for kind, explanation in {
        "joint": r"is a joint model of audio and text.*load it with mulan\.MuLan",
        "encoder": r"is an audio encoder.*load it with mulan\.AudioBackbone",
    }.items():
        with pytest.raises(ModelFolderError, match=explanation):
            Tagger.from_pretrained(tmp_path / kind)

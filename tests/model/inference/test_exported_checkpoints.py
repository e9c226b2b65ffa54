"""Tests exported models whose audio tower is a pretrained network: they need no checkpoint and state its licence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import mulan
from mulan.config.recipe import Recipe
from mulan.model.inference.files import CONFIG, LICENCE, ModelFolderError
from mulan.tasks.audio_encoder import export_encoder
from mulan.tasks.joint import JointTask
from tests.model.audio_checkpoints import RATES_HZ, SMALL, checkpoint_recipe, save_checkpoint
from tests.sounds import tone

KINDS = [(kind, "last") for kind in SMALL] + [("hubert_large", "weighted"), ("whisper", "weighted")]


def windows_of(recipe: Recipe) -> np.ndarray:
    """Returns two windows, int16 [2, samples]."""
    rate_hz = recipe.data.sample_rate_hz
    rows = [tone(frequency, recipe.data.window_s, rate_hz=rate_hz) for frequency in (400, 900)]
    return np.round(np.stack(rows) * 32767).astype(np.int16)


def trained(recipe: Recipe) -> torch.nn.Module:
    """Returns a joint model in evaluation mode whose parameters differ from the initial ones."""
    torch.manual_seed(0)
    model = JointTask(recipe).build_model()
    for parameter in model.audio_encoder.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize(("kind", "layers"), KINDS)
def test_embeddings_have_the_bits_of_the_trained_model(kind: str, layers: str, tmp_path: Path) -> None:
    recipe = checkpoint_recipe(kind, save_checkpoint(kind, tmp_path / "checkpoint"), layers=layers)
    model, windows = trained(recipe), windows_of(recipe)
    JointTask(recipe).export(model, tmp_path / "joint")
    export_encoder(model.audio_encoder, recipe, tmp_path / "encoder")
    shutil.rmtree(tmp_path / "checkpoint")

    joint = mulan.MuLan.from_pretrained(tmp_path / "joint", device="cpu")
    backbone = mulan.AudioBackbone.from_pretrained(tmp_path / "encoder", device="cpu")
    assert joint.sample_rate_hz == backbone.sample_rate_hz == RATES_HZ[kind]
    with torch.inference_mode():
        rows = model.embed_audio(torch.from_numpy(windows)).numpy()
        features = [model.audio_encoder(torch.from_numpy(row[None])).numpy() for row in windows]
    assert np.array_equal(joint.embed_windows(windows), rows)
    recordings = [row / np.float32(32768) for row in windows]
    assert np.array_equal(backbone.embed_audio(recordings, RATES_HZ[kind]), np.concatenate(features))


def test_the_licence_is_in_the_configuration_and_in_a_file(tmp_path: Path) -> None:
    spec = save_checkpoint("hubert", tmp_path / "checkpoint", licence="cc-by-nc-4.0")
    (tmp_path / "checkpoint" / "LICENSE").write_text("You may not sell it.\n")
    recipe = checkpoint_recipe("hubert", spec)
    export_encoder(trained(recipe).audio_encoder, recipe, tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder" / CONFIG).read_text())
    assert config["audio_tower"]["pretrained"] == spec
    assert config["checkpoint"]["licence"] == "cc-by-nc-4.0"
    assert config["checkpoint"]["licence_text"] == "You may not sell it.\n"
    text = (tmp_path / "encoder" / LICENCE).read_text()
    assert (
        text == f"The audio tower was made from the weights of {spec}: licence cc-by-nc-4.0.\n\nYou may not sell it.\n"
    )


def test_a_missing_licence_is_stated(tmp_path: Path) -> None:
    recipe = checkpoint_recipe("hubert", save_checkpoint("hubert", tmp_path / "checkpoint", licence=""))
    export_encoder(trained(recipe).audio_encoder, recipe, tmp_path / "encoder")
    assert (tmp_path / "encoder" / LICENCE).read_text().endswith(": no licence stated.\n")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (None, "checkpoint: it is missing, but the audio tower needs it"),
        ({"network": {"model_type": "bert"}}, "checkpoint: it describes a network of type 'bert'"),
        ({"feature_extractor": {"feature_extractor_type": "ClapFeatureExtractor"}}, "needs a Wav2Vec2FeatureExtractor"),
    ],
)
def test_damaged_configurations(values: dict[str, object] | None, fault: str, tmp_path: Path) -> None:
    recipe = checkpoint_recipe("hubert", save_checkpoint("hubert", tmp_path / "checkpoint"))
    export_encoder(trained(recipe).audio_encoder, recipe, tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder" / CONFIG).read_text())
    config["checkpoint"] = None if values is None else config["checkpoint"] | values
    (tmp_path / "encoder" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match=fault):
        mulan.AudioBackbone.from_pretrained(tmp_path / "encoder", device="cpu")

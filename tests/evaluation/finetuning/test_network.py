"""Tests that the network is the audio encoder of an exported model of any kind, with a new head."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mulan.config.objectives import TaggingConfig
from mulan.config.sections import TextTowerConfig
from mulan.evaluation.encoders.untrained import open_untrained
from mulan.evaluation.finetuning.network import end_to_end_network
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import ModelFolderError
from mulan.tasks.audio_encoder import encoder_from_recipe, export_encoder
from mulan.tasks.joint import JointTask
from mulan.tasks.tagging import TaggingTask, export_tagger
from tests.evaluation.encoders.windows import noise
from tests.evaluation.small_model import RECIPE
from tests.model.audio_checkpoints import checkpoint_recipe, save_checkpoint


def exported(kind: str, folder: Path) -> AudioEncoder:
    """Exports a model with weights of its own, and returns its audio encoder."""
    torch.manual_seed(3)
    if kind == "joint":
        joint = JointTask(RECIPE).build_model()
        JointTask(RECIPE).export(joint, folder)
        return joint.audio_encoder
    recipe = RECIPE.replace(text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=2))
    tagger = TaggingTask(recipe).build_model()
    if kind == "tagger":
        export_tagger(tagger, recipe, ["a", "b"], folder)
    else:
        export_encoder(tagger.audio_encoder, recipe, folder)
    return tagger.audio_encoder


@pytest.mark.parametrize("kind", ["joint", "tagger", "encoder"])
def test_the_encoder_has_the_exported_weights_or_those_of_the_untrained_baseline(kind: str, tmp_path: Path) -> None:
    encoder, windows = exported(kind, tmp_path).eval(), noise(3, 8000)
    before = torch.get_rng_state()
    tuned, scratch = (
        end_to_end_network(str(tmp_path), outputs=5, from_scratch=from_scratch, seed=2).eval()
        for from_scratch in (False, True)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert tuned(torch.from_numpy(windows).unsqueeze(1)).shape == (3, 5)
    expected = encoder(torch.from_numpy(windows))
    assert torch.equal(tuned.audio_encoder(torch.from_numpy(windows)), expected)
    untrained = open_untrained(str(tmp_path), name="a", device="cpu", seed=2).embed_audio(windows)
    np.testing.assert_array_equal(scratch.audio_encoder(torch.from_numpy(windows)).detach(), untrained)
    assert torch.equal(tuned.classifier.weight, scratch.classifier.weight)
    assert all(parameter.requires_grad for parameter in tuned.parameters())


def test_a_network_that_was_frozen_is_trained(tmp_path: Path) -> None:
    recipe = checkpoint_recipe("wav2vec2", save_checkpoint("wav2vec2", tmp_path / "checkpoint"), frozen=True)
    export_encoder(encoder_from_recipe(recipe), recipe, tmp_path / "model")
    network = end_to_end_network(str(tmp_path / "model"), outputs=2, from_scratch=False, seed=0)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.train().audio_encoder.tower.network.training


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"config\.json is missing"):
        end_to_end_network(str(tmp_path), outputs=2, from_scratch=True, seed=0)

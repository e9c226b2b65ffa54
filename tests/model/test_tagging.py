import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mulan
from mulan.config.recipe import Recipe
from mulan.config.sections import TaggingConfig, TextTowerConfig
from mulan.model.inference.files import ModelFolderError
from mulan.model.tagging import TaggingModel, build_tagging_model, export_tagger
from tests.model.waits import HostWaits

CLASSES = ["audioset:Bass drum", "audioset:Music", "audioset:Piano"]


@pytest.fixture
def tagging_recipe(recipe: Recipe) -> Recipe:
    """Without a text tower."""
    return recipe.replace(text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=3))


@pytest.fixture
def tagger(tagging_recipe: Recipe) -> TaggingModel:
    torch.manual_seed(0)
    return build_tagging_model(tagging_recipe)


@pytest.fixture
def waveform(pairs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Five recordings with two windows each."""
    return pairs["waveform"]


def test_logits_are_the_mean_over_a_recordings_views(tagger: TaggingModel, waveform: torch.Tensor) -> None:
    tagger.eval()
    logits = tagger(waveform)
    assert logits.shape == (5, 3)
    assert logits.dtype == torch.float32
    weight, bias = tagger.classifier.weight, tagger.classifier.bias
    for recording in range(5):
        of_views = [weight @ tagger.audio_encoder(view[None])[0] + bias for view in waveform[recording]]
        torch.testing.assert_close(logits[recording], (of_views[0] + of_views[1]) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tagger(waveform.flip(1)), logits, atol=1e-5, rtol=1e-4)


def test_bf16_stops_before_the_last_layer(tagging_recipe: Recipe, waveform: torch.Tensor) -> None:
    tagger = build_tagging_model(tagging_recipe.replace({"train.precision": "bf16"}))
    last: list[torch.dtype] = []
    tagger.classifier.register_forward_hook(lambda _, args, output: last.extend((args[0].dtype, output.dtype)))
    assert tagger(waveform).dtype == torch.float32
    assert last == [torch.float32, torch.float32]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_never_makes_the_host_wait_for_the_device(
    tagging_recipe: Recipe, precision: str, waveform: torch.Tensor
) -> None:
    tagger = build_tagging_model(tagging_recipe.replace({"train.precision": precision})).train()
    with HostWaits() as waits:
        tagger(waveform).square().sum().backward()
    assert waits.found == []
    assert all(parameter.grad is not None for parameter in tagger.parameters())


def test_there_is_no_warm_start_unless_the_tower_names_one(tagger: TaggingModel) -> None:
    assert list(tagger.warm_started_parameters()) == []


def test_export_says_what_the_logits_are(
    tagger: TaggingModel, tagging_recipe: Recipe, waveform: torch.Tensor, tmp_path: Path
) -> None:
    named = tagging_recipe.replace({"audio_tower.pretrained": "/a/checkpoint"})
    export_tagger(tagger, named, CLASSES, tmp_path / "new" / "folder")
    config = json.loads((tmp_path / "new" / "folder" / "config.json").read_text())
    assert config["format"] == "mulan-tagger-1"
    assert config["classes"] == CLASSES
    assert config["sample_rate_hz"] == 16_000
    assert config["window_samples"] == 8000
    assert config["front_end"] == tagging_recipe.front_end.model_dump(mode="json")
    assert config["audio_tower"] == tagging_recipe.audio_tower.model_dump(mode="json")  # nothing pretrained
    again = build_tagging_model(tagging_recipe)
    again.load_state_dict(load_file(tmp_path / "new" / "folder" / "model.safetensors"))
    assert torch.equal(again.eval()(waveform), tagger.eval()(waveform))


def test_classes_and_logits_must_be_as_many(tagger: TaggingModel, tagging_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 tags for 3 logits"):
        export_tagger(tagger, tagging_recipe, CLASSES[:2], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tagger_is_not_taken_for_a_joint_model(tagger: TaggingModel, tagging_recipe: Recipe, tmp_path: Path) -> None:
    export_tagger(tagger, tagging_recipe, CLASSES, tmp_path)
    with pytest.raises(ModelFolderError, match=r"is a tagger, trained without texts.*audio_tower\.pretrained"):
        mulan.MuLan.from_pretrained(tmp_path)

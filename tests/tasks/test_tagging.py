"""Tests the scores of tagging against loops over known outputs, and the exported files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mulan
from mulan.config.objectives import TaggingConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import TextTowerConfig
from mulan.model.inference.files import ModelFolderError
from mulan.model.tagging import TaggingModel
from mulan.tasks.tagging import TaggingTask, export_tagger
from tests.model.small import AST, RESNET, small_recipe
from tests.tasks.known import PAIRS, validated
from tests.training.small import small

CLASSES = ["audioset:Bass drum", "audioset:Music", "audioset:Piano"]
NUM_CLASSES = 3


@pytest.fixture(params=[RESNET, AST], ids=["resnet", "ast"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return small_recipe(request.param)


@pytest.fixture
def tagging_recipe(recipe: Recipe) -> Recipe:
    """Returns a recipe without a text tower."""
    return recipe.replace(text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=3))


@pytest.fixture
def tagger(tagging_recipe: Recipe) -> TaggingModel:
    torch.manual_seed(0)
    return TaggingTask(tagging_recipe).build_model()


@pytest.fixture
def waveform() -> torch.Tensor:
    """Returns five recordings with two windows each."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(-20_000, 20_000, (5, 2, 8000), dtype=torch.int16, generator=generator)


def test_the_export_contains_the_names_of_the_classes(
    tagger: TaggingModel, tagging_recipe: Recipe, waveform: torch.Tensor, tmp_path: Path
) -> None:
    named = tagging_recipe.replace({"audio_tower.pretrained": "/a/checkpoint"})
    export_tagger(tagger, named, CLASSES, tmp_path / "new" / "folder")
    config = json.loads((tmp_path / "new" / "folder" / "config.json").read_text())
    assert config["format"] == "mulan-tagger-2"
    assert config["classes"] == CLASSES
    assert config["sample_rate_hz"] == 16_000
    assert config["window_samples"] == 8000
    assert config["front_end"] == tagging_recipe.front_end.model_dump(mode="json")
    assert config["audio_tower"] == tagging_recipe.audio_tower.model_dump(mode="json")  # without a pretrained tower
    again = TaggingTask(tagging_recipe).build_model()
    again.load_state_dict(load_file(tmp_path / "new" / "folder" / "model.safetensors"))
    assert torch.equal(again.eval()(waveform), tagger.eval()(waveform))


def test_the_numbers_of_classes_and_logits_must_be_equal(
    tagger: TaggingModel, tagging_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="2 tags for 3 logits"):
        export_tagger(tagger, tagging_recipe, CLASSES[:2], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tagger_is_not_loaded_as_a_joint_model(tagger: TaggingModel, tagging_recipe: Recipe, tmp_path: Path) -> None:
    export_tagger(tagger, tagging_recipe, CLASSES, tmp_path)
    with pytest.raises(ModelFolderError, match=r"is a tagger, which was trained without.*audio_tower\.pretrained"):
        mulan.MuLan.from_pretrained(tmp_path)


def test_tagging_is_scored_class_by_class() -> None:
    rng = np.random.default_rng(0)
    tags = rng.integers(0, 2, (2, PAIRS, NUM_CLASSES)).astype(np.uint8)
    tags[:, :, 2] = 0  # a class without recordings
    logits = rng.normal(size=(2, PAIRS, NUM_CLASSES)).astype(np.float32)
    names = [[f"{number} {place}" for place in range(PAIRS)] for number in range(2)]
    recipe = small("m_resnet50_audioset")
    scores = validated(recipe, [torch.from_numpy(part) for part in logits], names, tags)
    wins = []
    for number in range(2):
        truth, score = tags[:, :, number].ravel(), logits[:, :, number].ravel()
        wins.append(np.mean([p > n for p in score[truth == 1] for n in score[truth == 0]]))
    assert scores["roc_auc"] == pytest.approx(np.mean(wins))
    assert scores["num_tags"] == 2

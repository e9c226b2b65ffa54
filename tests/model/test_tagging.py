"""Tests the logits of taggers over the views of a recording, their precision, and training without synchronisation."""

import pytest
import torch

from mulan.config.objectives import TaggingConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import TextTowerConfig
from mulan.model.tagging import TaggingModel
from mulan.tasks.tagging import TaggingTask
from tests.model.waits import HostWaits

CLASSES = ["audioset:Bass drum", "audioset:Music", "audioset:Piano"]


@pytest.fixture
def tagging_recipe(recipe: Recipe) -> Recipe:
    """Returns a recipe without a text tower."""
    return recipe.replace(text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=3))


@pytest.fixture
def tagger(tagging_recipe: Recipe) -> TaggingModel:
    torch.manual_seed(0)
    return TaggingTask(tagging_recipe).build_model()


@pytest.fixture
def waveform(pairs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns five recordings with two windows each."""
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
    tagger = TaggingTask(tagging_recipe.replace({"train.precision": "bf16"})).build_model()
    last: list[torch.dtype] = []
    tagger.classifier.register_forward_hook(lambda _, args, output: last.extend((args[0].dtype, output.dtype)))
    assert tagger(waveform).dtype == torch.float32
    assert last == [torch.float32, torch.float32]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_does_not_synchronise_with_the_device(
    tagging_recipe: Recipe, precision: str, waveform: torch.Tensor
) -> None:
    tagger = TaggingTask(tagging_recipe.replace({"train.precision": precision})).build_model().train()
    with HostWaits() as waits:
        tagger(waveform).square().sum().backward()
    assert waits.found == []
    assert all(parameter.grad is not None for parameter in tagger.parameters())


def test_no_parameter_is_warm_started_without_a_pretrained_tower(tagger: TaggingModel) -> None:
    assert list(tagger.warm_started_parameters()) == []

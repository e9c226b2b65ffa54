"""Tests the initial weights of audio encoders."""

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.tasks.audio_encoder import encoder_from_recipe
from tests.model.small import AST, RESNET, small_recipe


@pytest.fixture(params=[RESNET, AST], ids=["resnet", "ast"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return small_recipe(request.param)


def test_weights_follow_from_the_seed_and_bear_the_tower_s_name(recipe: Recipe) -> None:
    def weights() -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        return encoder_from_recipe(recipe).state_dict()

    one, same = weights(), weights()
    assert all(name.startswith("tower.") for name in one)
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_without_a_pretrained_tower_no_parameter_is_warm_started(recipe: Recipe) -> None:
    assert list(encoder_from_recipe(recipe).warm_started_parameters()) == []

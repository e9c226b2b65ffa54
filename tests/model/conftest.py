"""Fixtures: small recipes of both towers, a joint model, and a batch of pairs."""

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.model.joint import JointModel
from mulan.tasks.joint import JointTask
from tests.model.small import AST, RESNET, small_recipe


@pytest.fixture(params=[RESNET, AST], ids=["resnet", "ast"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return small_recipe(request.param)


@pytest.fixture
def model(recipe: Recipe) -> JointModel:
    torch.manual_seed(0)
    return JointTask(recipe).build_model()


@pytest.fixture
def pairs() -> dict[str, torch.Tensor]:
    """Returns five recordings with two windows of 0.5 s each, and five texts, of which the last two are padded."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(5, 6, dtype=torch.int64)
    mask[3:, 4:] = 0
    return {
        "waveform": torch.randint(-20_000, 20_000, (5, 2, 8000), dtype=torch.int16, generator=generator),
        "token_ids": torch.randint(1000, 20_000, (5, 6), generator=generator) * mask,
        "attention_mask": mask,
    }

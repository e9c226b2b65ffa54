"""Tests the named search spaces on all kinds of recipes."""

import numpy as np
import pytest

from mulan.recipes.registry import load_recipe, named_recipes
from tune.domains import NumberInterval, settings
from tune.space import load_space
from tune.space_check import check_space
from tune.spaces import NAMED_SPACES


@pytest.mark.parametrize(
    ("name", "given", "fields"),
    [
        ("demo", [], {"optim.lr", "loss.temperature_init"}),
        ("demo", ["loss.weights.contrastive=0", "loss.weights.siglip=1"], {"optim.lr", "loss.temperature_init"}),
        (
            "demo",
            ["loss.weights.clip=0.5", "loss.weights.decoupled=2"],
            {"optim.lr", "loss.temperature_init", "loss.weights.clip", "loss.weights.decoupled"},
        ),
        ("semisupcon", [], {"optim.lr", "semisupcon.temperature"}),
        ("mulap", [], {"optim.lr", "loss.weights.mam", "loss.weights.atm"}),
        (
            "mulan_semi",
            [],
            {"optim.lr", "loss.temperature_init", "semisupcon.temperature", "loss.weights.semisupcon"},
        ),
        ("m_resnet50_audioset", [], {"optim.lr"}),
    ],
)
def test_the_default_space_of_each_recipe(name: str, given: list[str], fields: set[str]) -> None:
    recipe = load_recipe(name, given)
    space = load_space("default", recipe)
    assert space.domains.keys() == fields
    check_space(space, recipe)
    draws = np.random.default_rng(0)
    for _ in range(20):
        point = {field: domain.sample(draws) for field, domain in space.domains.items()}
        swept = load_recipe(name, [*given, *settings(point)])
        assert recipe.optim.lr / 10 <= swept.optim.lr * 1.001
        assert swept.optim.lr <= recipe.optim.lr * 10.001


def test_other_named_spaces() -> None:
    demo, mulap = load_recipe("demo"), load_recipe("mulap")
    space = load_space("temperature_lr_text", demo)
    assert set(space.domains) == {"loss.temperature_init", "optim.lr", "optim.pretrained_lr_scale"}
    check_space(space, demo)
    assert set(load_space("loss_weights", mulap).domains) == {"loss.weights.mam", "loss.weights.atm"}


def test_named_spaces_contain_the_values_of_their_recipe() -> None:
    for name, recipe in named_recipes().items():
        domain = NAMED_SPACES["default"](recipe)["optim.lr"]
        assert isinstance(domain, NumberInterval)
        assert domain.contains(recipe.optim.lr), name

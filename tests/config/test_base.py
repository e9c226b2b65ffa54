from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from mulan.config.audio import AstTowerConfig, ResNetTowerConfig
from mulan.config.errors import RecipeError
from mulan.config.objectives import LossConfig, LossWeightsConfig, MulapConfig
from mulan.config.recipe import differing_fields, recipe_from_toml
from mulan.recipes.registry import load_recipe, named_recipes


def test_settings_add_single_variables_and_convert_values_to_text() -> None:
    settings = [
        "scale.env.NCCL_SOCKET_IFNAME=eth0",
        "scale.env.NCCL_IB_DISABLE=1",
        "scale.env.FI_EFA_USE_DEVICE_RDMA=true",
        "scale.env.NCCL_DEBUG_SUBSYS=INIT,NET",
        "scale.env.EMPTY=",
    ]
    recipe = load_recipe("demo", settings)
    assert recipe.scale.env == {
        "NCCL_SOCKET_IFNAME": "eth0",
        "NCCL_IB_DISABLE": "1",
        "FI_EFA_USE_DEVICE_RDMA": "true",
        "NCCL_DEBUG_SUBSYS": "INIT,NET",
        "EMPTY": "",
    }
    assert recipe_from_toml(recipe.to_toml(), name="kept") == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('scale.env={"nccl debug"="INFO"}', "'nccl debug' is not a valid variable name"),
        ("scale.env.1ST=x", "'1ST' is not a valid variable name"),
        ("scale.env.RANK=0", "the variable RANK is set by Ray, Ray Train or mulan"),
        ("scale.env.RAY_ADDRESS=auto", "RAY_ADDRESS is set by Ray"),
        ("scale.env.DS_ACCELERATOR=cuda", "DS_ACCELERATOR is set by Ray"),
        ("scale.env.A=[1]", "scale.env.A = [1]: input should be a valid string"),
        ('scale.env.A="\\u0000"', "the value of A contains a null byte"),
        ("scale.env=NCCL_DEBUG", "scale.env = 'NCCL_DEBUG': input should be a valid dictionary"),
    ],
)
def test_invalid_and_reserved_variables_are_rejected(setting: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", [setting])
    assert message in str(caught.value)


def test_values_are_replaced_by_path_by_field_and_by_section() -> None:
    demo = named_recipes()["demo"]
    varied = demo.replace({"train.steps": 3, "data.source_ratio.playlist": 0}, embedding_dim=64, mulap=MulapConfig())
    assert (varied.train.steps, varied.data.source_ratio.playlist, varied.embedding_dim) == (3, 0, 64)
    assert differing_fields(demo, varied).keys() == {"train.steps", "data.source_ratio.playlist", "embedding_dim"}
    assert demo.optim.replace(lr=0.5) == demo.replace({"optim.lr": 0.5}).optim
    assert demo.replace() == demo


def test_fields_are_set_after_their_section_is_replaced() -> None:
    demo = named_recipes()["demo"]
    for tower in (AstTowerConfig(layers=2), {"family": "ast", "layers": 2}):
        varied = demo.replace({"audio_tower.heads": 4, "audio_tower": tower})
        assert varied.audio_tower == AstTowerConfig(layers=2, heads=4)


def test_a_new_family_starts_from_its_defaults_in_any_order() -> None:
    varied = named_recipes()["demo"].replace({"audio_tower.layers": 2, "audio_tower.family": "ast"})
    assert varied.audio_tower == AstTowerConfig(layers=2)


def test_values_given_for_a_section_belong_to_the_family_that_is_given_for_it() -> None:
    demo = named_recipes()["demo"]
    varied = demo.replace({"audio_tower": {"layers": 2}, "audio_tower.family": "ast"})
    assert varied.audio_tower == AstTowerConfig(layers=2)
    with pytest.raises(RecipeError, match=r"audio_tower\.layers is not a field"):
        demo.replace({"audio_tower": AstTowerConfig(layers=2), "audio_tower.family": "resnet"})


def test_the_family_that_a_section_has_resets_nothing() -> None:
    demo = named_recipes()["demo"]
    assert demo.replace({"audio_tower.family": "resnet", "front_end.family": "vggish"}) == demo
    varied = demo.replace({"audio_tower": {"stem_channels": 8}, "audio_tower.family": "resnet"})
    assert varied.audio_tower == ResNetTowerConfig(stem_channels=8)


def test_a_variable_may_be_named_family() -> None:
    demo = named_recipes()["demo"].replace({"scale.env.A": "1"})
    assert demo.replace({"scale.env.family": "x"}).scale.env == {"A": "1", "family": "x"}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"train.steps.x": 3}, ["train.steps is not a section"]),
        ({"train.steps.seed": 5, "train.steps.x.y": 5}, ["train.steps is not a section"]),
        ({"train.steps": 7, "train.steps.seed": 5}, ["train.steps is not a section"]),
        (
            {"optim.lr.epsilon": 1, "embedding_dim.x": 1},
            ["optim.lr is not a section", "embedding_dim is not a section"],
        ),
        ({"audio_tower.layers.x": 1, "audio_tower.family": "ast"}, ["audio_tower.layers is not a section"]),
        ({"audio_tower.family.layers": 1}, ["audio_tower.family is not a section"]),
        ({"audio_tower.stage_depths.family": 1}, ["audio_tower.stage_depths is not a section"]),
        ({"scale.env.A.B": 1}, ["scale.env.A is not a section"]),
        ({"train": None, "train.steps": 3}, ["train = None: input should be a section"]),
        ({"audio_tower": 3, "audio_tower.family": "ast"}, ["audio_tower = 3: input should be a section"]),
        ({"loss": {"weights": 1}, "loss.weights.mlm": 1}, ["loss.weights = 1: input should be a section"]),
    ],
)
def test_a_path_through_a_field_that_is_not_a_section_is_refused(changes: dict[str, Any], faults: list[str]) -> None:
    demo = named_recipes()["demo"]
    for ordered in (changes, dict(reversed(changes.items()))):
        with pytest.raises(RecipeError) as caught:
            demo.replace(ordered)
        assert sorted(caught.value.faults) == sorted(faults)


def test_sections_within_mappings_are_replaced_as_if_they_were_mappings() -> None:
    demo = named_recipes()["demo"]
    expected = demo.replace(loss=LossConfig(weights=LossWeightsConfig(contrastive=2, semisupcon=0.5)))
    for weights in (LossWeightsConfig(contrastive=2), {"contrastive": 2}):
        loss: Mapping[str, Any] = {"weights": weights}
        for whole in (loss, MappingProxyType(loss)):
            assert demo.replace({"loss.weights.semisupcon": 0.5, "loss": whole}) == expected
        assert loss == {"weights": weights}
        assert weights in (LossWeightsConfig(contrastive=2), {"contrastive": 2})

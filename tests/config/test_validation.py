import pytest

from mulan.config.audio import AstTowerConfig, ResNetTowerConfig
from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe
from mulan.config.validation import validated
from mulan.recipes.registry import named_recipes


def test_replaced_values_are_validated_together_and_all_errors_are_listed() -> None:
    demo = named_recipes()["demo"]
    with pytest.raises(RecipeError) as caught:
        demo.replace({"train.steps": 0, "trian.seed": 1, "audio_tower.hidden_size": 3})
    own = ", ".join(sorted(ResNetTowerConfig.model_fields))
    assert caught.value.faults[0] == f"audio_tower.hidden_size is not a field; valid here: {own}"
    assert caught.value.faults[1] == "train.steps = 0: input should be greater than or equal to 1"
    assert caught.value.faults[2].startswith("trian is not a field; did you mean train?")
    assert str(caught.value).startswith("recipe with other train.steps, trian.seed, audio_tower.hidden_size has 3")
    with pytest.raises(RecipeError, match=r"scale\.workers = 3 cannot share batch\.micro_batches = 2"):
        demo.replace({"scale.workers": 3})
    with pytest.raises(RecipeError, match=r"lr = -1: input should be greater than 0"):
        demo.optim.replace(lr=-1)
    with pytest.raises(RecipeError, match=r"'wandb': input should be a list, such as \[\"wandb\"\]$"):
        demo.replace({"logging.trackers": "wandb"})
    with pytest.raises(RecipeError, match=r"patch is not a field; did you mean patch_size\?"):
        AstTowerConfig().replace(patch=3)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(RecipeError, match=r"audio_tower = .*resnet"):
        validated(Recipe, {"audio_tower": {"family": "vit"}}, name="mine")


def test_errors_of_the_caller_are_listed_first() -> None:
    with pytest.raises(RecipeError) as caught:
        validated(Recipe, {"embedding_dim": 0}, name="mine", faults=["--set x: no value"])
    assert caught.value.faults[0] == "--set x: no value"
    assert len(caught.value.faults) == 2
    with pytest.raises(RecipeError, match="recipe mine: --set x: no value"):
        validated(Recipe, {}, name="mine", faults=["--set x: no value"])

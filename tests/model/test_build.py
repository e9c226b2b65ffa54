import pytest

from mulan.config.recipe import Recipe
from mulan.config.sections import Loss, LossWeights, TextTower
from mulan.model.build import build_model
from mulan.model.joint import JointModel
from mulan.model.tagging import TaggingModel


def test_the_objective_decides(recipe: Recipe) -> None:
    assert isinstance(build_model(recipe), JointModel)
    tagging = Loss(weights=LossWeights(contrastive=0, tagging=1))
    changes = {"loss": tagging, "text_tower": TextTower()}
    assert isinstance(build_model(recipe.model_copy(update=changes)), TaggingModel)


def test_a_joint_model_needs_a_text_encoder(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"text_tower\.pretrained"):
        build_model(recipe.model_copy(update={"text_tower": TextTower()}))

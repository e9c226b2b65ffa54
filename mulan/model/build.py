"""The model of a recipe."""

from mulan.config.recipe import Recipe
from mulan.model.joint import JointModel, build_joint_model
from mulan.model.mulap import FusionModel, build_fusion_model
from mulan.model.tagging import TaggingModel, build_tagging_model
from mulan.model.towers.text import TextTower
from mulan.model.views import ViewModel, build_view_model

Model = JointModel | ViewModel | FusionModel | TaggingModel


def build_model(recipe: Recipe, text_tower: TextTower | None = None) -> Model:
    """What the recipe's terms train: a tagger, MuLaP's fusion model, the joint model of audio and text, or, where
    only views of audio are compared, an encoder without texts.

    Args:
        text_tower: in place of the recipe's pretrained one.

    Raises:
        PretrainedError: a pretrained part of the recipe cannot be used.
    """
    weights = recipe.loss.weights
    if weights.tagging:
        return build_tagging_model(recipe)
    if weights.uses_mulap:
        return build_fusion_model(recipe, text_tower)
    return build_joint_model(recipe, text_tower) if weights.contrastive else build_view_model(recipe)

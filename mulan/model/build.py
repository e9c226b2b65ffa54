"""The model of a recipe."""

from mulan.config.recipe import Recipe
from mulan.model.joint import JointModel, build_joint_model
from mulan.model.tagging import TaggingModel, build_tagging_model


def build_model(recipe: Recipe) -> JointModel | TaggingModel:
    """What the recipe's terms train: a tagger for tagging, the joint model for all else.

    Raises:
        PretrainedError: a pretrained part of the recipe cannot be used.
    """
    return build_tagging_model(recipe) if recipe.loss.weights.tagging else build_joint_model(recipe)

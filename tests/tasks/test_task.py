"""Tests that a recipe's loss terms determine its task, and which text tower a task builds."""

import pytest

from mulan.config.recipe import Recipe
from mulan.config.sections import TextTowerConfig
from mulan.model.audio_encoder import TrainedModel
from mulan.model.joint import JointModel
from mulan.model.mulap import FusionModel
from mulan.model.tagging import TaggingModel
from mulan.model.views import ViewModel
from mulan.recipes.registry import load_recipe
from mulan.tasks.task import task_of
from tests.model.small import AST, RESNET, small_recipe, tiny_text_tower


@pytest.fixture(params=[RESNET, AST], ids=["resnet", "ast"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return small_recipe(request.param)


@pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        ("m_resnet50", (), JointModel),
        ("mulan_semi", (), JointModel),
        ("m_resnet50", ("loss.weights.contrastive=0", "loss.weights.clip=1"), JointModel),
        ("mulan_semi", ("loss.weights.contrastive=0", "loss.weights.siglip=1"), JointModel),
        ("semisupcon", (), ViewModel),
        ("mulap", (), FusionModel),
        ("mulap", ("loss.weights.mam=0", "loss.weights.atm=0"), FusionModel),
        ("mulap", ("loss.weights.mlm=0", "loss.weights.atm=0"), FusionModel),
        ("mulap", ("loss.weights.mlm=0", "loss.weights.mam=0"), FusionModel),
        ("m_resnet50_audioset", (), TaggingModel),
    ],
)
def test_the_loss_terms_of_a_recipe_determine_its_task(
    name: str, settings: tuple[str, ...], kind: type[TrainedModel]
) -> None:
    recipe = load_recipe(f"{name}_miniature", settings)
    assert type(task_of(recipe).build_model(tiny_text_tower(3))) is kind


@pytest.mark.parametrize("name", ["m_resnet50_miniature", "mulap_miniature"])
def test_a_given_text_tower_replaces_the_pretrained_one(name: str) -> None:
    recipe = load_recipe(name, ["text_tower.pretrained=/no/such/folder"])
    given = tiny_text_tower(3)
    model = task_of(recipe).build_model(given)
    assert isinstance(model, JointModel | FusionModel)
    assert model.text_tower is given
    with pytest.raises(ValueError, match="/no/such/folder"):
        task_of(recipe).build_model()


def test_a_model_of_texts_needs_a_text_encoder(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"text_tower\.pretrained"):
        task_of(recipe.replace(text_tower=TextTowerConfig())).build_model()

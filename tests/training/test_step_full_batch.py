"""Tests a step with the paper's batch size, micro-batches and layers, at 1/64 of the towers' width."""

from pathlib import Path

import pytest
import torch

from mulan.config.audio import AstTowerConfig, AudioTowerConfig, ResNetTowerConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import TextTowerConfig
from mulan.distributed.batch_norm import RunningStatistics
from mulan.recipes.mulan import m_ast, m_resnet50
from mulan.tasks.task import task_of
from mulan.training.engines.torch import TorchEngine
from mulan.training.step import train_step
from tests.training.small import batches_of, save_bert

WIDTH = 64


@pytest.fixture(scope="module")
def narrow_bert_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Saves BERT-base-uncased with its 12 layers, at a hidden size of 12 instead of 768."""
    sizes = {"hidden_size": 768 // WIDTH, "intermediate_size": 3072 // WIDTH, "num_attention_heads": 12}
    return save_bert(tmp_path_factory.mktemp("bert"), **sizes)


def narrow(recipe: Recipe, bert: str) -> Recipe:
    """Returns the recipe with windows of half a second and two layers for texts of 12 tokens, to save time."""
    whole = recipe.audio_tower
    tower: AudioTowerConfig
    if isinstance(whole, AstTowerConfig):
        tower = AstTowerConfig(
            hidden_size=whole.hidden_size // WIDTH,
            heads=whole.heads,
            feed_forward_size=whole.feed_forward_size // WIDTH,
        )
    else:
        tower = ResNetTowerConfig(stem_channels=1, stage_channels=tuple(size // WIDTH for size in whole.stage_channels))
    return recipe.replace(
        {
            "data.window_s": 0.5,
            "front_end.time_mask_frames": 12,
            "audio_tower": tower,
            "text_tower": TextTowerConfig(pretrained=bert, layers=2, max_tokens=12),
            "train.precision": "float32",
        }
    )


@pytest.mark.parametrize(("whole", "pairs"), [(m_resnet50(), 6144), (m_ast(), 5120)], ids=["m_resnet50", "m_ast"])
@pytest.mark.long(group="layouts")
def test_a_step_of_the_paper_s_batch(whole: Recipe, pairs: int, narrow_bert_base: str) -> None:
    recipe = narrow(whole, narrow_bert_base)
    assert recipe.batch == whole.batch
    assert recipe.batch.pairs == pairs
    torch.manual_seed(0)
    engine = TorchEngine.from_recipe(task_of(recipe).build_model(), recipe, device=torch.device("cpu"))
    before = {name: parameter.detach().clone() for name, parameter in engine.module.named_parameters()}
    measured = train_step(
        engine, batches_of(recipe, 0), RunningStatistics(engine.module), task_of(recipe), recipe.train
    )
    with torch.no_grad():  # in the first step, all similarities are about equal
        assert measured["loss"] == pytest.approx(torch.log(torch.tensor(2.0 * (pairs - 1))).item(), abs=1.0)
    assert all(not torch.equal(parameter, before[name]) for name, parameter in engine.module.named_parameters())


def test_a_narrow_model_has_the_paper_s_layers(narrow_bert_base: str, tmp_path: Path) -> None:
    for whole, layers in ((m_resnet50(), 53), (m_ast(), 1)):
        model = task_of(narrow(whole, narrow_bert_base)).build_model()
        assert sum(isinstance(module, torch.nn.Conv2d) for module in model.modules()) == layers
    assert len(model.audio_encoder.tower.network.layers) == 12

"""The engine of plain PyTorch and that of DeepSpeed train the same model: two implementations of one thing."""

from pathlib import Path

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.model.build import Model
from mulan.objectives.collectives import world
from mulan.training.batch_norm import RunningStatistics
from mulan.training.deepspeed_engine import DeepSpeedEngine
from mulan.training.step import training_step
from mulan.training.torch_engine import TorchEngine
from tests.processes import run_in_processes
from tests.training.same import assert_same_state, without_kinks
from tests.training.small import batches_of, small

STEPS = 5
Curve = list[dict[str, float]]


def train(engine: TorchEngine | DeepSpeedEngine, recipe: Recipe) -> Curve:
    rank, workers = world()
    share = recipe.batch.micro_batches // workers
    statistics = RunningStatistics(engine.module)
    lines = []
    for step in range(STEPS):
        own = batches_of(recipe, step)[rank * share : (rank + 1) * share]
        lines.append(training_step(engine, own, statistics, recipe))
    return lines


def model(recipe: Recipe) -> Model:
    torch.manual_seed(0)
    return without_kinks(recipe)


def with_both(recipes: list[Recipe]) -> list[tuple[Curve, Curve, dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    torch.set_num_threads(1)
    found = []
    for recipe in recipes:
        plain = TorchEngine(model(recipe), recipe, device=torch.device("cpu"))
        sharded = DeepSpeedEngine(model(recipe), recipe, device=torch.device("cpu"))
        curves = train(plain, recipe), train(sharded, recipe)
        weights = {f"weights.{name}": tensor.detach() for name, tensor in plain.module.state_dict().items()}
        state = {name: tensor for name, tensor in sharded.state().items() if name.startswith("weights.")}
        found.append((*curves, weights, state))
    return found


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_both_train_the_same_model(workers: int, narrow_bert: str, tmp_path: Path) -> None:
    settings = ["text_tower.layers=2", "text_tower.frozen_layers=1", "optim.weight_decay=0.01", "optim.epsilon=1e-5"]
    settings += ["optim.max_gradient_norm=0.5", "optim.pretrained_lr_scale=0.3", f"text_tower.pretrained={narrow_bert}"]
    recipes = [small("m_resnet50", *settings, "train.zero_stage=2"), small("m_ast", *settings, "train.zero_stage=3")]
    recipes.append(small("m_resnet50_audioset", "optim.epsilon=1e-5", "train.zero_stage=1"))
    recipes.append(small("mulap", *settings, "train.zero_stage=3"))
    recipes.append(small("semisupcon", "optim.epsilon=1e-5", "train.zero_stage=3"))
    recipes.append(small("mulan_semi", *settings, "train.zero_stage=3"))
    ranks = run_in_processes(with_both, workers, recipes, folder=tmp_path)
    for results in ranks:
        for plain, sharded, weights, state in results:
            for line, other in zip(plain, sharded, strict=True):
                assert line["loss"] == pytest.approx(other["loss"], rel=1e-5)
                assert line["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)
            assert_same_state(state, weights)
    assert ranks[0][0][0][0]["gradient_norm"] > 0.5  # that clipping took part

"""Tests a step of two workers at every ZeRO stage against integer sums and Adam's formula in float64."""

import math
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from transformers import LlamaConfig, LlamaModel, T5Config, T5EncoderModel, XLMConfig, XLMModel

from mulan.config.recipe import Recipe
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import rank_and_world_size
from mulan.distributed.fixed_point import FRACTION_BITS
from mulan.model.towers.text import TextTower
from mulan.tasks.task import task_of
from mulan.training.engines.exact import build_engine
from mulan.training.engines.torch import TorchEngine
from mulan.training.step import queue_gradients, train_step
from tests.checkpoints import whole_state
from tests.processes import run_in_processes
from tests.training.same import differing
from tests.training.small import batches_of, small

STAGES = range(4)
State = dict[str, torch.Tensor]


def recipe(stage: int) -> Recipe:
    settings = ["optim.weight_decay=0.01", "optim.lr=1e-3", "optim.pretrained_lr_scale=1.0", "optim.warmup_steps=0"]
    return small("demo", *settings, f"train.zero_stage={stage}", "optim.max_grad_norm=0.25")


def after_one_step(one: Recipe, text_tower: TextTower | None = None) -> tuple[dict[str, float], State]:
    rank, workers = rank_and_world_size()
    torch.manual_seed(0)
    model = task_of(one).build_model(text_tower)
    engine = build_engine(model, one, device=torch.device("cpu"))
    share = one.batch.micro_batches // workers
    own = batches_of(one, 0)[rank * share : (rank + 1) * share]
    return train_step(engine, own, RunningStatistics(engine.module), task_of(one), one.train), whole_state(engine)


def xlm() -> TextTower:
    """Returns a text tower with one module list for attention layers and another for feed-forward layers."""
    torch.manual_seed(0)
    config = XLMConfig(vocab_size=20_000, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=64)
    return TextTower(XLMModel(config))


def t5() -> TextTower:
    """Returns a text tower whose layers share the relative position biases of the first one."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}
    return TextTower(T5EncoderModel(T5Config(vocab_size=20_000, **sizes)).encoder, pooling="mean")


def llama() -> TextTower:
    """Returns a text tower with a causal network."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return TextTower(LlamaModel(LlamaConfig(vocab_size=20_000, **sizes)), pooling="last")


TOWERS = {"xlm": xlm, "t5": t5, "llama": llama}


class StepResults(NamedTuple):
    """Metrics and states of a worker after a step at each stage."""

    by_stage: list[tuple[dict[str, float], State]]
    of_towers: dict[str, list[tuple[dict[str, float], State]]]
    """By the name of the text tower, at stages 0 and 3."""


def after_one_step_at_all_stages() -> StepResults:
    with patch("mulan.distributed.gradient_sums.BUCKET_SIZE", 2**12):  # small, so that the model fills several
        by_stage = [after_one_step(recipe(stage)) for stage in STAGES]
        of_towers = {
            name: [after_one_step(recipe(stage), tower()) for stage in (0, 3)] for name, tower in TOWERS.items()
        }
        return StepResults(by_stage, of_towers)


class IntegerSumEngine(TorchEngine):
    """An engine that sums the gradient of each parameter in integers."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.trained = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        self.units = {name: torch.zeros(p.shape, dtype=torch.int64) for name, p in self.trained.items()}

    def backward(self, scalar: torch.Tensor) -> None:
        for units, gradient in zip(
            self.units.values(), torch.autograd.grad(scalar, list(self.trained.values())), strict=True
        ):
            units += (gradient.double() * 2**FRACTION_BITS).round().to(torch.int64)


def expected(one: Recipe) -> tuple[float, State]:
    """Computes the gradient norm, and weights and moments after one step of Adam, in float64."""
    torch.manual_seed(0)
    engine = IntegerSumEngine.from_recipe(task_of(one).build_model(), one, device=torch.device("cpu"))
    optim, state = one.optim, {}
    queue_gradients(engine, batches_of(one, 0), RunningStatistics(engine.module), task_of(one), one.train)
    gradients = {name: (units.double() / 2**FRACTION_BITS) for name, units in engine.units.items()}
    norm = math.sqrt(math.fsum(float(gradient.square().sum()) for gradient in gradients.values()))
    for name, parameter in engine.trained.items():
        gradient = gradients[name] * min(1, optim.max_grad_norm / norm)
        decay = optim.weight_decay if parameter.ndim > 1 else 0.0
        state[f"exp_avg.{name}"] = (1 - optim.beta1) * gradient
        state[f"exp_avg_sq.{name}"] = (1 - optim.beta2) * gradient.square()
        moved = gradient / (gradient.abs() + optim.epsilon)
        state[f"weights.{name}"] = parameter.detach().double() * (1 - optim.lr * decay) - optim.lr * moved
    return norm, state


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[StepResults]:
    return run_in_processes(after_one_step_at_all_stages, 2, folder=tmp_path_factory.mktemp("found"))


@pytest.mark.processes
@pytest.mark.parametrize("tower", TOWERS)
def test_text_towers_of_other_kinds_have_the_same_step_at_stage_3(tower: str, ranks: list[StepResults]) -> None:
    for rank in ranks:
        (measured, state), (sharded, of_shards) = rank.of_towers[tower]
        assert sharded == measured
        assert differing(of_shards, state) == []


@pytest.mark.processes
def test_a_step_equals_integer_sums_and_adam_s_formula(ranks: list[StepResults]) -> None:
    norm, state = expected(recipe(0))
    assert norm > 2 * recipe(0).optim.max_grad_norm
    for rank in ranks:
        for stage, (measured, found) in enumerate(rank.by_stage):
            assert measured["grad_norm"] == pytest.approx(norm, rel=1e-7), stage
            for name, tensor in state.items():
                error = float((found[name].double() - tensor).abs().max())
                scale = 1.0 if name.startswith("weights.") else float(tensor.abs().max())
                assert error <= 2**-22 * scale, (stage, name)

"""The step against one graph over the whole batch, and what it must not do: forward twice in vain, or wait."""

import math
from typing import Any

import pytest
import torch

from mulan.benchmarks.untiled import untiled_loss
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.draws import torch_seed
from mulan.objectives.logistic_regression import tagging_loss
from mulan.training.batch_norm import RunningStatistics
from mulan.training.errors import NonFiniteLoss
from mulan.training.step import queue_gradients, training_step
from mulan.training.torch_engine import TorchEngine
from mulan.training.transfer import DeviceBatch
from tests.model.waits import HostWaits
from tests.training.small import batches_of, small, torch_engine

NAMES = ["demo", "m_resnet50", "m_ast", "m_resnet50_audioset"]


def in_one_graph(engine: TorchEngine, recipe: Recipe, step: int) -> torch.Tensor:
    """The slow twin: every micro-batch's forward is kept, and the loss of the whole batch is driven back at once."""
    parts = []
    on_device = [engine.to_device(batch) for batch in batches_of(recipe, step)]
    for number, batch in enumerate(on_device):
        torch.manual_seed(torch_seed(seed=recipe.train.seed, purpose="forward", key=(step, number)))
        parts.append(engine.forward(batch))
    if recipe.loss.weights.tagging:
        loss = tagging_loss(torch.cat(parts), torch.cat([batch.tags for batch in on_device]))
    else:
        audio, text = torch.cat([part.audio[:, 0] for part in parts]), torch.cat([part.text for part in parts])
        loss = untiled_loss(audio, text, parts[0].temperature)
    loss.backward()
    return loss.detach()


def gradients(engine: TorchEngine) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in engine.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_one_graph_over_the_whole_batch(name: str) -> None:
    recipe = small(name, "front_end.time_mask_frames=20")
    twin, engine = torch_engine(recipe), torch_engine(recipe)
    expected = in_one_graph(twin, recipe, 3)
    statistics = RunningStatistics(engine.module)
    measured = queue_gradients(engine, batches_of(recipe, 3), statistics, weights=recipe.loss.weights, seed=0)
    assert measured["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    ours, reference = gradients(engine), gradients(twin)
    assert ours.keys() == reference.keys()
    total = math.hypot(*(float(gradient.norm()) for gradient in reference.values()))
    for parameter, gradient in reference.items():
        assert float((ours[parameter] - gradient).norm()) <= 1e-6 * total, parameter


class Watched:
    """An engine that has its batches on the device beforehand, and counts its forwards."""

    def __init__(self, engine: TorchEngine, batches: list[Batch]) -> None:
        self._engine, self.forwards = engine, 0
        self._on_device = iter([engine.to_device(batch) for batch in batches])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def to_device(self, _: Batch) -> DeviceBatch:
        return next(self._on_device)

    def forward(self, batch: DeviceBatch) -> Any:
        self.forwards += 1
        return self._engine.forward(batch)


@pytest.mark.parametrize(
    ("name", "micro_batches", "forwards"), [("m_ast", 1, 1), ("m_ast", 4, 8), ("m_resnet50_audioset", 4, 4)]
)
def test_no_forward_is_done_in_vain(name: str, micro_batches: int, forwards: int) -> None:
    """With one micro-batch there is no second forward, and never for terms of single micro-batches."""
    recipe = small(name, f"batch.micro_batches={micro_batches}")
    batches = batches_of(recipe, 0)
    engine = Watched(torch_engine(recipe), batches)
    training_step(engine, batches, RunningStatistics(engine.module), weights=recipe.loss.weights, seed=0)
    assert engine.forwards == forwards


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits_for_the_device_until_all_is_queued(name: str, micro_batches: int) -> None:
    recipe = small(name, f"batch.micro_batches={micro_batches}")
    batches = batches_of(recipe, 0)
    engine = Watched(torch_engine(recipe), batches)  # on a GPU, copies are queued: see the transfer's own test
    statistics = RunningStatistics(engine.module)
    with HostWaits() as waits:
        queue_gradients(engine, batches, statistics, weights=recipe.loss.weights, seed=0)
    assert "convolution_backward" in waits.operators
    assert waits.found == []
    with HostWaits() as waits:
        engine.step()
    assert waits.found != []  # the norm is told at the end: the test can see a wait


@pytest.mark.parametrize("name", ["demo", "m_resnet50_audioset"])
def test_a_loss_that_is_no_number_changes_no_weight(name: str) -> None:
    recipe = small(name)
    engine = torch_engine(recipe)
    poisoned = next(p for p in engine.module.parameters() if p.requires_grad)
    with torch.no_grad():
        poisoned.view(-1)[0] = torch.nan
    before = {key: parameter.detach().clone() for key, parameter in engine.module.named_parameters()}
    with pytest.raises(NonFiniteLoss, match=r"the loss of step 3 is nan; recordings here: noise 0, noise 1"):
        training_step(
            engine, batches_of(recipe, 2), RunningStatistics(engine.module), weights=recipe.loss.weights, seed=0
        )
    for key, parameter in engine.module.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[key], rtol=0, atol=0, equal_nan=True)


def test_what_is_measured() -> None:
    for name, keys in {
        "demo": {"loss", "loss_contrastive", "temperature", "gradient_norm"},
        "m_resnet50_audioset": {"loss", "loss_tagging", "gradient_norm"},
    }.items():
        recipe = small(name)
        engine = torch_engine(recipe)
        statistics = RunningStatistics(engine.module)
        measured = training_step(engine, batches_of(recipe, 0), statistics, weights=recipe.loss.weights, seed=0)
        assert measured.keys() == keys
        assert all(type(value) is float for value in measured.values())

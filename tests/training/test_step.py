"""Tests the step against one graph over the whole batch, and its number of forward passes and synchronisations."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mulan.config.objectives import CROSS_MODAL
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.randomness import torch_seed
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import rank_and_world_size
from mulan.model.device_batch import DeviceBatch
from mulan.model.outputs import Predictions
from mulan.objectives.semisupcon import Labels, semisupcon_loss
from mulan.objectives.tagging import tagging_loss
from mulan.tasks.task import task_of
from mulan.training.engines.torch import TorchEngine
from mulan.training.step import queue_gradients, train_step
from tests.model.waits import HostWaits
from tests.objectives.pair_losses import the_formula
from tests.processes import run_in_processes
from tests.training.small import batches_of, torch_engine
from tests.training.small import small as small_miniature

PLAIN = "train.exact_sums=false"
"""An engine that leaves the gradients of micro-batches on the parameters."""
LOSSES = {
    "siglip": [
        "loss.weights.contrastive=0",
        "loss.weights.siglip=0.5",
        "loss.bias_init=-3",
        "loss.mask_equal_texts=true",
    ],
    "softmax": ["loss.weights.clip=2", "loss.weights.decoupled=0.5", "loss.mask_equal_texts=true"],
}
"""Further losses of pairs, with the settings by which ``demo`` is trained with them."""
NAMES = ["demo", "m_resnet50", "m_ast", "m_resnet50_audioset", "mulap", "semisupcon", "mulan_semi", *LOSSES]


def small(name: str, *settings: str) -> Recipe:
    return small_miniature("demo", *LOSSES[name], *settings) if name in LOSSES else small_miniature(name, *settings)


def with_equal_texts(batches: list[Batch]) -> list[Batch]:
    """Returns the batches with one text for a pair of each micro-batch."""
    first = batches[0]
    changed = []
    for batch in batches:
        token_ids, attention_mask = batch.token_ids.copy(), batch.attention_mask.copy()
        token_ids[2], attention_mask[2] = first.token_ids[1], first.attention_mask[1]
        changed.append(replace(batch, token_ids=token_ids, attention_mask=attention_mask))
    return changed


def in_one_graph(engine: TorchEngine, recipe: Recipe, batches: list[Batch], step: int) -> torch.Tensor:
    """Computes the reference: one graph over all micro-batches, through which the loss is backpropagated at once."""
    parts = []
    on_device = [engine.to_device(batch) for batch in batches]
    for number, batch in enumerate(on_device):
        torch.manual_seed(torch_seed(seed=recipe.train.seed, purpose="forward", key=(step, number)))
        parts.append(engine.forward(batch))
    loss = whole_loss(recipe, parts, on_device)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def whole_loss(recipe: Recipe, parts: list[Any], batches: list[DeviceBatch]) -> torch.Tensor:
    weights, loss = recipe.loss.weights, torch.zeros(())
    if weights.tagging:
        return weights.tagging * tagging_loss(torch.cat(parts), torch.cat([batch.tags for batch in batches]))
    if weights.uses_mulap:
        terms = [task_of(recipe).loss_terms(part, [batch]) for part, batch in zip(parts, batches, strict=True)]
        return sum(getattr(weights, name) * term for of_one in terms for name, term in of_one.items()) / len(terms)  # type: ignore[return-value]
    for term in CROSS_MODAL:
        if not getattr(weights, term):
            continue
        # in float64, like the tiles
        audio, text = (torch.cat([getattr(part, name) for part in parts]).double() for name in ("audio", "text"))
        bias = torch.zeros(()) if parts[0].bias is None else parts[0].bias
        texts = torch.cat([batch.texts for batch in batches]) if recipe.loss.mask_equal_texts else None
        whole = the_formula(term)(audio, text, parts[0].temperature.double(), bias.double(), texts)
        loss = loss + getattr(weights, term) * whole
    if weights.semisupcon:
        labels = Labels(
            torch.cat([batch.recordings for batch in batches]), torch.cat([batch.tags for batch in batches])
        )
        views = torch.cat([part.views for part in parts])
        loss = loss + weights.semisupcon * semisupcon_loss(views, labels, recipe.semisupcon)
    return loss


def gradients(engine: TorchEngine) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in engine.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_one_graph_over_the_whole_batch(name: str) -> None:
    masks = [] if name in ("mulap", "semisupcon") else ["front_end.time_mask_frames=20"]
    recipe = small(name, PLAIN, *masks)
    twin, engine, batches = torch_engine(recipe), torch_engine(recipe), batches_of(recipe, 3)
    if recipe.loss.mask_equal_texts:
        batches = with_equal_texts(batches)
    expected = in_one_graph(twin, recipe, batches, 3)
    statistics = RunningStatistics(engine.module)
    measured = queue_gradients(engine, batches, statistics, task_of(recipe), recipe.train)
    assert measured["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    ours, reference = gradients(engine), gradients(twin)
    assert ours.keys() == reference.keys()
    total = math.hypot(*(float(gradient.norm()) for gradient in reference.values()))
    for parameter, gradient in reference.items():
        assert float((ours[parameter] - gradient).norm()) <= 1e-6 * total, parameter


class Watched:
    """An engine whose batches are already on the device, and which counts its forward passes."""

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
    ("name", "micro_batches", "forwards"),
    [
        ("m_ast", 1, 1),
        ("m_ast", 4, 8),
        ("mulan_semi", 4, 8),
        ("semisupcon", 1, 1),
        ("m_resnet50_audioset", 4, 4),
        ("mulap", 4, 4),
    ],
)
def test_forward_passes_are_repeated_only_if_necessary(name: str, micro_batches: int, forwards: int) -> None:
    """With one micro-batch, or for terms over single micro-batches, forward passes are not repeated."""
    recipe = small(name, f"batch.micro_batches={micro_batches}")
    batches = batches_of(recipe, 0)
    engine = Watched(torch_engine(recipe), batches)
    train_step(engine, batches, RunningStatistics(engine.module), task_of(recipe), recipe.train)
    assert engine.forwards == forwards


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_the_host_does_not_wait_until_all_work_is_queued(name: str, micro_batches: int) -> None:
    recipe = small(name, f"batch.micro_batches={micro_batches}")
    batches = batches_of(recipe, 0)
    engine = Watched(torch_engine(recipe), batches)  # on a GPU, copies are asynchronous: see test_device_batch
    statistics = RunningStatistics(engine.module)
    with HostWaits() as waits:
        measured = queue_gradients(engine, batches, statistics, task_of(recipe), recipe.train)
    assert "convolution_backward" in waits.operators
    assert waits.found == []
    with HostWaits() as waits:
        measured["loss"].item()
    assert waits.found != []  # the test detects a synchronisation


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("demo", []),
        ("m_resnet50_audioset", ["optim.max_grad_norm=0"]),
        ("mulap", [PLAIN, "optim.max_grad_norm=0"]),
        ("semisupcon", [PLAIN]),
    ],
)
def test_a_step_with_a_nan_loss_changes_nothing(name: str, settings: list[str]) -> None:
    recipe = small(name, *settings)
    engine = torch_engine(recipe)
    statistics = RunningStatistics(engine.module)
    train_step(engine, batches_of(recipe, 0), statistics, task_of(recipe), recipe.train)
    poisoned = next(p for p in engine.module.parameters() if p.requires_grad)
    with torch.no_grad():
        poisoned.view(-1)[0] = torch.nan
    before = {key: tensor.clone() for key, tensor in engine.module.state_dict().items()}
    measured = train_step(engine, batches_of(recipe, 2), statistics, task_of(recipe), recipe.train)
    assert math.isnan(measured["loss"])
    assert not math.isfinite(measured["grad_norm"])
    for key, tensor in engine.module.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("name", "seed", "steps"), [("demo", 2, 4), ("m_resnet50", 3, 3)])
def test_exact_sums_have_room_for_the_gradients_of_a_low_temperature(name: str, seed: int, steps: int) -> None:
    """The gradients of micro-batches are far larger than their sum, most of all that of the temperature."""
    norms: dict[bool, list[float]] = {}
    for exact in (True, False):
        settings = [f"train.seed={seed}", "loss.temperature_init=0.02", f"train.exact_sums={str(exact).lower()}"]
        recipe = small(name, *settings)
        engine = torch_engine(recipe)
        statistics = RunningStatistics(engine.module)
        lines = [
            train_step(engine, batches_of(recipe, step), statistics, task_of(recipe), recipe.train)
            for step in range(steps)
        ]
        norms[exact] = [line["grad_norm"] for line in lines]
    assert norms[True] == pytest.approx(norms[False], rel=1e-3)  # they diverge from the second step on
    assert norms[True][0] == pytest.approx(norms[False][0], rel=1e-5)


def test_an_infinite_loss_leaves_no_finite_gradient() -> None:
    """This also holds if the gradient itself would be finite: here it is 0."""
    recipe = small("m_resnet50_audioset")
    engine = torch_engine(recipe)
    engine.module.register_forward_hook(lambda _, __, logits: logits * 0 + 3e38)  # their sum overflows float32
    measured = train_step(
        engine, batches_of(recipe, 0), RunningStatistics(engine.module), task_of(recipe), recipe.train
    )
    assert measured["loss"] == math.inf
    assert not math.isfinite(measured["grad_norm"])


def test_measurements_of_a_step() -> None:
    for name, keys in {
        "demo": {"loss", "loss_contrastive", "temperature", "grad_norm"},
        "m_resnet50_audioset": {"loss", "loss_tagging", "grad_norm"},
        "mulap": {"loss", "loss_mlm", "loss_mam", "loss_atm", "grad_norm"},
        "semisupcon": {"loss", "loss_semisupcon", "grad_norm"},
        "mulan_semi": {"loss", "loss_contrastive", "loss_semisupcon", "temperature", "grad_norm"},
        "siglip": {"loss", "loss_siglip", "temperature", "bias", "grad_norm"},
        "softmax": {"loss", "loss_contrastive", "loss_clip", "loss_decoupled", "temperature", "grad_norm"},
    }.items():
        recipe = small(name)
        engine = torch_engine(recipe)
        statistics = RunningStatistics(engine.module)
        measured = train_step(engine, batches_of(recipe, 0), statistics, task_of(recipe), recipe.train)
        assert measured.keys() == keys
        assert all(type(value) is float for value in measured.values())


def naive_terms(predictions: Predictions, batch: DeviceBatch) -> dict[str, torch.Tensor]:
    """Computes MuLaP's terms of a micro-batch in float64 loops."""
    masks = batch.masks
    assert masks is not None and predictions.token_logits is not None and predictions.match_logits is not None
    assert predictions.segments is not None and predictions.segment_features is not None
    targets = masks.token_targets.tolist()
    words = [-row.double().log_softmax(0)[word] for row, word in zip(predictions.token_logits, targets, strict=True)]
    segments = zip(predictions.segments, predictions.segment_features, strict=True)
    squares = [((one.double() - other.double()) ** 2).sum() / len(one) for one, other in segments]
    pairs = [
        -(torch.sigmoid(logit.double()) if same else 1 - torch.sigmoid(logit.double())).log()
        for logit, same in zip(predictions.match_logits, masks.matched.tolist(), strict=True)
    ]
    nothing = torch.zeros((), dtype=torch.float64)
    return {
        name: sum(found, nothing) / max(len(found), 1)
        for name, found in (("mlm", words), ("mam", squares), ("atm", pairs))
    }


def mulap_by_loops(recipe: Recipe) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Computes the terms of the global batch and the gradient of their weighted sum, one micro-batch at a time."""
    engine, weights = torch_engine(recipe), recipe.loss.weights
    sums = dict.fromkeys(("mlm", "mam", "atm"), 0.0)
    for number, host in enumerate(batches_of(recipe, 3)):
        batch = engine.to_device(host)
        torch.manual_seed(torch_seed(seed=recipe.train.seed, purpose="forward", key=(3, number)))
        terms = naive_terms(engine.forward(batch), batch)
        loss = sum(getattr(weights, name) * term for name, term in terms.items()) / recipe.batch.micro_batches
        loss.backward()  # type: ignore[union-attr]
        sums = {name: sums[name] + float(term.detach()) / recipe.batch.micro_batches for name, term in terms.items()}
    return sums, gradients(engine)


def mulap_of_a_share(recipe: Recipe) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Returns the measurements of one process, and the gradient that it accumulates."""
    rank, workers = rank_and_world_size()
    engine, share = torch_engine(recipe), recipe.batch.micro_batches // workers
    own = batches_of(recipe, 3)[rank * share : (rank + 1) * share]
    measured = queue_gradients(engine, own, RunningStatistics(engine.module), task_of(recipe), recipe.train)
    return {name: float(value) for name, value in measured.items()}, gradients(engine)


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_mulap_s_terms_equal_loops_over_the_micro_batches(workers: int, tmp_path: Path) -> None:
    recipe = small("mulap", PLAIN, "text_tower.frozen_layers=1", "text_tower.layers=2")
    expected, reference = mulap_by_loops(recipe)
    assert all(value > 0 for value in expected.values())
    ranks = run_in_processes(mulap_of_a_share, workers, recipe, folder=tmp_path)
    total = math.hypot(*(float(gradient.norm()) for gradient in reference.values()))
    for measured, _ in ranks:
        for name, value in expected.items():
            assert measured[f"loss_{name}"] == pytest.approx(value, rel=1e-6)
    for parameter, gradient in reference.items():
        together = sum(found[parameter] for _, found in ranks)
        assert float((together - gradient).norm()) <= 2e-6 * total, parameter

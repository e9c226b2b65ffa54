"""Tests that a diagnosis agrees with the step, and locates planted non-finite values."""

import math
from typing import Any

import pytest
import torch
from rich.console import Console

from mulan.data.randomness import torch_seed
from mulan.debugging.step_diagnosis import diagnose_step, print_diagnosis
from mulan.distributed.batch_norm import RunningStatistics
from mulan.model.audio_encoder import TrainedModel
from mulan.tasks.task import task_of
from mulan.training.step import train_step
from tests.training.small import batches_of, small, torch_engine


@pytest.mark.parametrize("name", ["demo", "mulan_semi", "mulap", "m_resnet50_audioset", "semisupcon"])
def test_a_diagnosis_agrees_with_the_step(name: str) -> None:
    recipe = small(name)
    before = {key: value.clone() for key, value in torch_engine(recipe).module.named_parameters()}
    engine = torch_engine(recipe)
    diagnosis = diagnose_step(engine, batches_of(recipe, 1), task_of(recipe), recipe.train)
    assert all(torch.equal(value, before[key]) for key, value in engine.module.named_parameters())
    twin = torch_engine(recipe)
    expected = train_step(twin, batches_of(recipe, 1), RunningStatistics(twin.module), task_of(recipe), recipe.train)
    assert diagnosis.measured == expected
    assert [part.recordings for part in diagnosis.micro_batches] == [
        batch.recording_id for batch in batches_of(recipe, 1)
    ]
    assert sum(part.outputs + part.output_gradients + part.gradients for part in diagnosis.micro_batches) == 0
    assert math.hypot(*(one.grad_norm for one in diagnosis.parameters)) == pytest.approx(expected["grad_norm"])
    norms = [one.grad_norm for one in diagnosis.parameters]
    assert norms == sorted(norms, reverse=True)
    for term in diagnosis.micro_batches[0].terms:
        mean = sum(part.terms[term] for part in diagnosis.micro_batches) / len(diagnosis.micro_batches)
        assert mean == pytest.approx(expected[f"loss_{term}"], rel=1e-5)


def planted(model: TrainedModel, kind: str) -> None:
    """Plants a non-finite embedding in the first forward pass of the second micro-batch, or a gradient that is
    non-finite or too large in its second one."""
    calls = {"without gradient": 0, "with": 0}

    def plant(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        way = "with" if torch.is_grad_enabled() else "without gradient"
        calls[way] += 1
        if calls[way] != 2:
            return output
        if kind == "large":
            return output + 1e8 * (output - output.detach())
        if kind == "slope":
            return output + (output - output.detach()).sqrt()
        return output.index_fill(0, torch.tensor([4]), torch.nan)

    model.audio_projection.register_forward_hook(plant)  # type: ignore[union-attr]


def test_a_non_finite_gradient_is_located() -> None:
    recipe = small("demo")
    engine = torch_engine(recipe)
    planted(engine.module, "slope")
    diagnosis = diagnose_step(engine, batches_of(recipe, 0), task_of(recipe), recipe.train)
    assert math.isfinite(diagnosis.measured["loss"])
    assert not math.isfinite(diagnosis.measured["grad_norm"])
    assert [part.gradients > 0 for part in diagnosis.micro_batches] == [False, True, False, False]
    assert [part.outputs + part.output_gradients for part in diagnosis.micro_batches] == [0, 0, 0, 0]
    first = diagnosis.parameters[0]
    assert first.gradients > 0 and first.weights == 0
    assert not any(one.gradients for one in diagnosis.parameters if one.name.startswith("text_tower"))


def test_a_gradient_beyond_the_range_of_the_sums_is_named() -> None:
    recipe = small("demo")
    shown: list[str] = []
    for settings in ([], ["train.exact_sums=false"]):
        summed = small("demo", *settings)
        engine = torch_engine(summed)
        planted(engine.module, "large")
        diagnosis = diagnose_step(engine, batches_of(recipe, 0), task_of(summed), summed.train)
        assert math.isnan(diagnosis.measured["grad_norm"]) == (not settings)
        assert sum(part.gradients for part in diagnosis.micro_batches) == 0
        assert [part.too_large > 0 for part in diagnosis.micro_batches] == [False, not settings, False, False]
        console = Console(record=True, width=200)
        print_diagnosis(diagnosis, console)
        shown.append(console.export_text())
    line = "micro-batch 1: values of its gradient that are 4096 or more, too large for train.exact_sums: "
    assert [line in text for text in shown] == [True, False]


def test_recordings_with_non_finite_embeddings_are_named() -> None:
    recipe = small("demo")
    engine = torch_engine(recipe)
    planted(engine.module, "embedding")
    batches = batches_of(recipe, 0)
    diagnosis = diagnose_step(engine, batches, task_of(recipe), recipe.train)
    assert [part.nonfinite_recordings for part in diagnosis.micro_batches] == [[], [batches[1].recording_id[4]], [], []]
    assert diagnosis.micro_batches[1].outputs == recipe.embedding_dim
    console = Console(record=True, width=200)
    print_diagnosis(diagnosis, console)
    assert f"micro-batch 1: embeddings not finite: {batches[1].recording_id[4]}\n" in console.export_text()


def test_equal_embeddings_have_a_cosine_of_1() -> None:
    recipe = small("demo", "batch.micro_batches=1")
    engine = torch_engine(recipe)
    (healthy,) = diagnose_step(engine, batches_of(recipe, 0), task_of(recipe), recipe.train).micro_batches
    torch.manual_seed(torch_seed(seed=recipe.train.seed, purpose="forward", key=(0, 0)))
    with torch.no_grad():
        embeddings = engine.forward(engine.to_device(batches_of(recipe, 0)[0]))
    for kind, rows in (("audio", embeddings.audio), ("text", embeddings.text)):
        pairs = [float(rows[i].double() @ rows[j].double()) for i in range(6) for j in range(6) if i != j]
        assert healthy.cosines[kind] == pytest.approx(sum(pairs) / 30, rel=1e-6)
    engine.module.text_projection.register_forward_hook(lambda _, __, output: output * 0 + 1)  # type: ignore[operator, union-attr]
    (flat,) = diagnose_step(engine, batches_of(recipe, 0), task_of(recipe), recipe.train).micro_batches
    assert flat.cosines["text"] == pytest.approx(1, abs=1e-6)
    assert healthy.cosines["text"] < 0.995

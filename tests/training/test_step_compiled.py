"""Tests that compiled towers compute the same, including dropout, with and without gradient."""

import os
import shutil

import pytest
import torch

from mulan.distributed.batch_norm import RunningStatistics
from mulan.tasks.task import task_of
from mulan.training.step import train_step
from tests.training.small import batches_of, small, torch_engine

needs_a_compiler = pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")), reason="torch.compile needs a C++ compiler"
)
SMALLER = ["audio_tower.stage_channels=[8]", "audio_tower.stage_depths=[1]"]


@needs_a_compiler
@pytest.mark.timeout(900)
@pytest.mark.long(group="layouts")
def test_steps_of_compiled_towers_are_those_of_plain_ones() -> None:
    recipe = small("m_resnet50", "batch.micro_batches=2", *SMALLER)
    plain, compiled = torch_engine(recipe), torch_engine(recipe)
    names = list(compiled.module.state_dict())
    compiled.module.compile_towers()
    assert list(compiled.module.state_dict()) == names
    curves = []
    for engine in (plain, compiled):
        statistics = RunningStatistics(engine.module)
        steps = [batches_of(recipe, number, tokens=12) for number in range(3)]
        curves.append([train_step(engine, step, statistics, task_of(recipe), recipe.train) for step in steps])
    for line, other in zip(*curves, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert line["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # something was compiled


@needs_a_compiler
@pytest.mark.timeout(900)
@pytest.mark.long(group="layouts")
def test_both_forwards_of_a_micro_batch_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    # a worker with one micro-batch has a single forward, with gradient; it must equal the first ones of other workers
    recipe = small("m_resnet50", "batch.micro_batches=2", "train.compile=true", *SMALLER)
    engine = torch_engine(recipe)
    engine.module.compile_towers()
    outputs, forward = [], engine.forward
    monkeypatch.setattr(engine, "forward", lambda batch: outputs.append(forward(batch)) or outputs[-1])
    train_step(
        engine, batches_of(recipe, 0, tokens=12), RunningStatistics(engine.module), task_of(recipe), recipe.train
    )
    first, second = outputs[:2], outputs[2:]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.audio, other.audio)
        assert torch.equal(one.text, other.text)

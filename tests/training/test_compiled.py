"""Compiled towers compute the same, dropout and all, in the forward with and in the one without gradient."""

import os
import shutil

import pytest
import torch

from mulan.training.batch_norm import RunningStatistics
from mulan.training.compiled import compile_towers
from mulan.training.step import training_step
from tests.training.small import batches_of, small, torch_engine


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.timeout(900)
@pytest.mark.long(group="whole")
def test_steps_of_compiled_towers_are_those_of_plain_ones() -> None:
    smaller = ["batch.micro_batches=2", "audio_tower.stage_channels=[8]", "audio_tower.stage_depths=[1]"]
    recipe = small("m_resnet50", *smaller)
    plain, compiled = torch_engine(recipe), torch_engine(recipe)
    names = list(compiled.module.state_dict())
    compile_towers(compiled.module)
    assert list(compiled.module.state_dict()) == names
    curves = []
    for engine in (plain, compiled):
        statistics = RunningStatistics(engine.module)
        steps = [batches_of(recipe, number, tokens=12) for number in range(3)]
        curves.append([training_step(engine, step, statistics, recipe) for step in steps])
    for line, other in zip(*curves, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert line["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # that something was compiled

"""A reading of the step trains, on the batches that its worker would have."""

import numpy as np
import pytest
import torch

from mulan.benchmarks.step_process import PRELOADED_STEPS, StepJob, preloaded, read, step_on
from mulan.benchmarks.steps import ENGINES
from mulan.benchmarks.synthetic import synthetic_batch
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.recipes.registry import load_recipe


def miniature(name: str, *settings: str, uri: str | None = None) -> Recipe:
    return load_recipe(f"{name}_miniature", settings, data_uri=uri)


@pytest.mark.long(group="whole")
@pytest.mark.processes
def test_readings_of_all_engines_end_at_the_same_loss() -> None:
    """Bare loop, our step, and our step on DeepSpeed do the same thing: same batches, same weights."""
    recipe = miniature("m_ast", "optim.lr=1e-5")
    losses = []
    for engine in ENGINES[:-1]:
        reading = read(StepJob(recipe.to_toml(), engine, steps=1, warmup_steps=1, tokens=0, corpus=False))
        assert reading.step_s > 0
        assert reading.peak_bytes > 2**20
        losses.append(reading.loss)
    # masks and dropout differ between the bare loop and the others, whose random numbers are the plan's
    bare, kept, plain, deepspeed = losses
    assert plain == pytest.approx(deepspeed, rel=1e-5)
    assert bare == pytest.approx(plain, rel=0.1)
    assert kept == pytest.approx(bare, rel=1e-5)


def test_a_worker_s_batches_are_those_of_its_micro_batches() -> None:
    recipe = miniature("demo", "batch.micro_batches=3", "scale.workers=1", "train.validation_micro_batches=0")
    job = StepJob(recipe.to_toml(), "torch", steps=1, warmup_steps=1, tokens=7, corpus=False)
    batches = preloaded(recipe, job)
    assert [[batch.item for batch in of_step] for of_step in batches] == [
        [Item(Phase.TRAIN, step, number) for number in range(3)] for step in range(PRELOADED_STEPS)
    ]
    expected = synthetic_batch(recipe, step=2, micro_batch=1, tokens=7)
    assert np.array_equal(batches[2][1].waveform, expected.waveform)
    assert np.array_equal(batches[2][1].token_ids, expected.token_ids)


def test_batches_of_a_corpus_are_those_that_training_reads(tiny_corpus: str) -> None:
    recipe = miniature("demo", "scale.workers=1", uri=tiny_corpus)
    job = StepJob(recipe.to_toml(), "torch", steps=1, warmup_steps=1, tokens=0, corpus=True)
    batches, read_now = preloaded(recipe, job), MicroBatchReader.from_recipe(recipe)
    for of_step in batches[:2]:
        for batch in of_step:
            assert np.array_equal(batch.waveform, read_now(batch.item).waveform)


def test_a_step_of_the_bare_loop_and_one_of_ours_return_the_loss_that_falls() -> None:
    recipe = miniature("m_resnet50_audioset", "scale.workers=1", "optim.warmup_steps=0", "optim.lr=3e-3")
    for engine in ("bare", "torch"):
        job = StepJob(recipe.to_toml(), engine, steps=1, warmup_steps=1, tokens=0, corpus=False)
        step, batches = step_on(recipe, job, torch.device("cpu")), preloaded(recipe, job)[0]
        losses = [step(batches) for _ in range(12)]
        assert losses[-1] < 0.9 * losses[0]

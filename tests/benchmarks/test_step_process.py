"""Tests that a measurement of the step trains on the batches of its worker."""

import numpy as np
import pytest
import torch

from mulan.benchmarks.step_process import PRELOADED_STEPS, StepJob, _measure, preloaded, read, step_on
from mulan.benchmarks.steps import ENGINES
from mulan.benchmarks.synthetic import synthetic_batch
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.recipes.registry import load_recipe


def miniature(name: str, *settings: str, uri: str | None = None) -> Recipe:
    return load_recipe(f"{name}_miniature", settings, data_uri=uri)


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_all_engines_reach_the_same_loss() -> None:
    """The bare loop and mulan's step on both engines use the same batches and initial weights."""
    recipe = miniature("m_ast", "optim.lr=1e-5")
    losses = []
    for engine in ENGINES[:-1]:
        reading = read(StepJob(recipe.to_toml(), engine, steps=1, warmup_steps=1, tokens=0, corpus=False))
        assert reading.step_s > 0
        assert reading.peak_bytes > 2**20
        losses.append(reading.loss)
    # masks and dropout differ in the bare loop: the others draw their random numbers from the plan
    bare, kept, plain, deepspeed = losses
    assert plain == pytest.approx(deepspeed, rel=1e-5)
    assert bare == pytest.approx(plain, rel=0.1)
    assert kept == pytest.approx(bare, rel=1e-5)


def test_synthetic_batches_are_those_of_the_worker() -> None:
    recipe = miniature("demo", "batch.micro_batches=3", "scale.workers=1", "train.validation_micro_batches=0")
    job = StepJob(recipe.to_toml(), "torch", steps=1, warmup_steps=1, tokens=7, corpus=False)
    batches = preloaded(recipe, job)
    assert [[batch.item for batch in step_batches] for step_batches in batches] == [
        [Item(Phase.TRAIN, step, number) for number in range(3)] for step in range(PRELOADED_STEPS)
    ]
    expected = synthetic_batch(recipe, step=2, micro_batch=1, tokens=7)
    assert np.array_equal(batches[2][1].waveform, expected.waveform)
    assert np.array_equal(batches[2][1].token_ids, expected.token_ids)


def test_batches_of_a_corpus_are_those_of_training(tiny_corpus: str) -> None:
    recipe = miniature("demo", "scale.workers=1", uri=tiny_corpus)
    job = StepJob(recipe.to_toml(), "torch", steps=1, warmup_steps=1, tokens=0, corpus=True)
    batches, reader = preloaded(recipe, job), MicroBatchReader.from_recipe(recipe)
    for step_batches in batches[:2]:
        for batch in step_batches:
            assert np.array_equal(batch.waveform, reader(batch.item).waveform)


def test_the_loss_decreases_with_the_bare_loop_and_with_the_step() -> None:
    recipe = miniature("m_resnet50_audioset", "scale.workers=1", "optim.warmup_steps=0", "optim.lr=3e-3")
    for engine in ("bare", "torch"):
        job = StepJob(recipe.to_toml(), engine, steps=1, warmup_steps=1, tokens=0, corpus=False)
        step, batches = step_on(recipe, job, torch.device("cpu")), preloaded(recipe, job)[0]
        losses = [step(batches) for _ in range(12)]
        assert losses[-1] < 0.9 * losses[0]


def test_the_mean_length_of_the_texts_is_measured() -> None:
    recipe = miniature("demo", "scale.workers=1")
    for tokens in (7, 0):
        job = StepJob(recipe.to_toml(), "bare", steps=1, warmup_steps=0, tokens=tokens, corpus=False)
        masks = [batch.attention_mask for step in preloaded(recipe, job) for batch in step]
        lengths = np.concatenate([mask.sum(axis=1) for mask in masks])
        assert _measure(job, torch.device("cpu"))["tokens"] == pytest.approx(lengths.mean())

"""Tests that synthetic batches have the shapes, lengths and masks of their recipe, and are reproducible."""

from dataclasses import astuple

import numpy as np
import pytest
import torch

from mulan.benchmarks.synthetic import SYNTHETIC_TAGS, model_to_measure, synthetic_batch
from mulan.config.recipe import Recipe
from mulan.data.batch import NOT_PREDICTED, Batch
from mulan.model.joint import JointModel
from mulan.recipes.registry import load_recipe

MINIATURES = ["demo", "m_resnet50_audioset", "mulap", "semisupcon", "mulan_semi"]


def miniature(name: str, *settings: str) -> Recipe:
    return load_recipe(f"{name}_miniature", settings)


def contents(batch: Batch) -> list[bytes]:
    arrays = [batch.waveform, batch.token_ids, batch.attention_mask, batch.tags]
    masks = [] if batch.masks is None else list(astuple(batch.masks))
    return [np.ascontiguousarray(array).tobytes() for array in [*arrays, *masks]]


@pytest.mark.parametrize("name", MINIATURES)
def test_a_batch_depends_on_step_micro_batch_and_seed_only(name: str) -> None:
    recipe = miniature(name)
    one = contents(synthetic_batch(recipe, step=1, micro_batch=0, tokens=0))
    assert contents(synthetic_batch(recipe, step=1, micro_batch=0, tokens=0)) == one
    others = [(recipe, 2, 0), (recipe, 1, 1), (miniature(name, "train.seed=9"), 1, 0)]
    for other, step, micro_batch in others:
        assert contents(synthetic_batch(other, step=step, micro_batch=micro_batch, tokens=0))[0] != one[0]


@pytest.mark.parametrize("name", MINIATURES)
def test_shapes_of_batches(name: str) -> None:
    recipe = miniature(name)
    batch, m, weights = synthetic_batch(recipe, step=0, micro_batch=1, tokens=0), 8, recipe.loss.weights
    assert batch.waveform.shape == (m, recipe.views, recipe.data.window_samples)
    assert batch.waveform.dtype == np.int16
    assert batch.token_ids.shape == batch.attention_mask.shape == (m, 16 if weights.contrastive or weights.mlm else 0)
    assert batch.tags.shape == (m, 2 if weights.tagging else SYNTHETIC_TAGS if weights.semisupcon else 0)
    assert len(set(batch.recording_id)) == m
    assert (batch.masks is not None) == (name == "mulap")
    if batch.masks is not None:
        assert [part.shape for part in astuple(batch.masks)] == [(m, 16), (m, recipe.segments), (m,)]


def test_texts_have_the_given_length_or_random_ones() -> None:
    recipe = miniature("demo", "batch.pairs_per_micro_batch=500")
    same, drawn = (synthetic_batch(recipe, step=0, micro_batch=0, tokens=tokens) for tokens in (5, 0))
    assert same.attention_mask.tolist() == [[1] * 5] * 500
    lengths = drawn.attention_mask.sum(axis=1)
    assert set(lengths) == set(range(3, 17))
    assert (lengths <= 7).mean() > 0.5  # short ones more often
    for batch in (same, drawn):
        assert ((batch.token_ids > 0) == (batch.attention_mask == 1)).all()


def test_masked_shares_are_those_of_the_recipe_and_exclude_padding() -> None:
    recipe = miniature("mulap", "batch.pairs_per_micro_batch=400")
    batch = synthetic_batch(recipe, step=0, micro_batch=0, tokens=0)
    assert batch.masks is not None
    targets, hidden, matched = astuple(batch.masks)
    assert matched.mean() == pytest.approx(1 - recipe.mulap.mismatch_probability, abs=0.08)
    assert hidden.mean() == pytest.approx(recipe.mulap.segment_mask_probability, abs=0.04)
    predicted = targets != NOT_PREDICTED
    assert not predicted[(batch.attention_mask == 0) | (matched == 0)[:, None]].any()
    assert (targets[predicted] == batch.token_ids[predicted]).all()
    whole = (batch.attention_mask == 1) & (matched == 1)[:, None]
    assert predicted[whole].mean() == pytest.approx(recipe.mulap.token_mask_probability, abs=0.04)


def test_a_model_is_initialised_by_the_seed_of_the_recipe() -> None:
    one, same = (model_to_measure(miniature("demo")).state_dict() for _ in range(2))
    other = model_to_measure(miniature("demo", "train.seed=9")).state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_bert_has_random_weights_in_the_given_width() -> None:
    recipe = miniature("demo", "text_tower.pretrained=hub:google-bert/bert-base-uncased", "text_tower.frozen_layers=0")
    model = model_to_measure(recipe, bert_width=12)
    assert isinstance(model, JointModel)
    assert model.text_tower.output_dim == 12
    (layer,) = model.text_tower.encoder.encoder.layer
    assert layer.intermediate.dense.weight.shape == (48, 12)

"""Tests that the recipe of MuLaP has the values of the paper (Manco et al. 2022, §2 and §3)."""

import math

from mulan.config.recipe import Recipe, differing_fields
from mulan.recipes.mulan import BERT
from mulan.recipes.mulap import mulap


def test_a_hundred_epochs_of_four_fifths_of_the_tracks() -> None:
    recipe = mulap()
    epochs = recipe.train.steps * recipe.batch.pairs / (0.8 * 250_513)
    assert math.isclose(epochs, 100, rel_tol=1e-5)
    assert math.isclose(recipe.optim.warmup_steps / recipe.train.steps, 0.1, rel_tol=1e-4)
    assert (recipe.optim.schedule, recipe.optim.decay_until_step) == ("linear", recipe.train.steps)


def test_twenty_seconds_in_segments_of_three() -> None:
    recipe = mulap()
    assert (recipe.segments, recipe.encoder_window_samples) == (6, 48_000)  # 2 s of 20 are left over
    assert recipe.data.window_samples == 320_000


def test_only_captions_are_read_and_three_terms_are_trained() -> None:
    recipe = mulap()
    assert {source for source, share in recipe.data.source_ratio if share} == {"long_form"}
    assert {name: weight for name, weight in recipe.loss.weights if weight} == {"mlm": 0.1, "mam": 4, "atm": 2}
    assert recipe.text_tower.pretrained == BERT


def test_the_fusion_model_is_the_published_one() -> None:
    recipe = mulap()
    assert not [field for field in differing_fields(recipe, Recipe()) if field.startswith("mulap.")]
    assert (recipe.text_tower.layers, recipe.mulap.audio_layers, recipe.mulap.fusion_layers) == (6, 6, 2)

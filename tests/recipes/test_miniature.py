"""Tests that miniatures resemble their recipes, and that ``mulan_semi`` without its term equals ``m_resnet50``."""

import pytest

from mulan.config.audio import (
    AstTowerConfig,
    MusicnnTowerConfig,
    ResNetTowerConfig,
    SampleCnnTowerConfig,
    WaveformFrontEndConfig,
)
from mulan.config.recipe import Recipe, differing_fields
from mulan.recipes.miniature import MINILM, miniature
from mulan.recipes.registry import MINIATURE, load_recipe, named_recipes

WHOLE = sorted(name for name in named_recipes() if not name.endswith(MINIATURE))


def both(name: str) -> tuple[Recipe, Recipe]:
    return named_recipes()[name], named_recipes()[f"{name}{MINIATURE}"]


def size_of(recipe: Recipe) -> list[int]:
    """Returns sizes that each increase the cost of a run."""
    tower, front_end = recipe.audio_tower, recipe.front_end
    match tower:
        case ResNetTowerConfig():
            widths = [tower.stem_channels, *tower.stage_channels[:2], sum(tower.stage_depths)]
        case AstTowerConfig():
            widths = [tower.hidden_size, tower.layers, tower.heads, tower.feed_forward_size]
        case MusicnnTowerConfig():
            widths = [tower.vertical_channels, tower.horizontal_channels, max(tower.horizontal_frames)]
        case SampleCnnTowerConfig():
            widths = [tower.stem_channels, *tower.block_channels[:6], len(tower.block_channels)]
    mel = [] if isinstance(front_end, WaveformFrontEndConfig) else [front_end.mel_channels]
    semi, mulap = recipe.semisupcon, recipe.mulap
    heads = [semi.head_hidden_size, semi.head_dim] if recipe.loss.weights.semisupcon else []
    if recipe.loss.weights.uses_mulap:
        heads += [mulap.fusion_size, mulap.audio_size, mulap.audio_feed_forward_size, mulap.audio_layers]
    return [*widths, *mel, *heads, recipe.encoder_window_samples, recipe.batch.pairs, recipe.train.steps]


@pytest.mark.parametrize("name", WHOLE)
def test_a_miniature_has_the_families_terms_sources_and_views_of_its_recipe(name: str) -> None:
    recipe, twin = both(name)
    assert twin.front_end.family == recipe.front_end.family
    assert twin.audio_tower.family == recipe.audio_tower.family
    assert twin.loss == recipe.loss
    assert twin.views == recipe.views
    assert (twin.segments > 1) == (recipe.segments > 1)
    assert twin.data.source_ratio == recipe.data.source_ratio
    assert twin.data.sample_rate_hz == recipe.data.sample_rate_hz
    assert bool(twin.text_tower.pretrained) == bool(recipe.text_tower.pretrained)
    assert twin.text_tower.pretrained in ("", MINILM)
    if isinstance(recipe.audio_tower, ResNetTowerConfig):
        assert isinstance(twin.audio_tower, ResNetTowerConfig)
        assert twin.audio_tower.layer == recipe.audio_tower.layer
        assert twin.audio_tower.stem_stride == recipe.audio_tower.stem_stride


@pytest.mark.parametrize("name", WHOLE)
def test_a_miniature_is_smaller_in_every_size(name: str) -> None:
    recipe, twin = both(name)
    for small, large in zip(size_of(twin), size_of(recipe), strict=True):
        assert small < large
    assert (twin.train.precision, twin.train.zero_stage, twin.scale.use_gpu) == ("float32", 0, False)


@pytest.mark.parametrize("name", WHOLE)
def test_a_miniature_checkpoints_and_validates_on_two_workers(name: str) -> None:
    _, twin = both(name)
    assert twin.scale.workers == 2
    assert 0 < twin.train.checkpoint_every_steps < twin.train.steps
    assert 0 < twin.train.validate_every_steps < twin.train.steps
    assert twin.train.validation_micro_batches > 0
    assert Recipe.model_validate(twin.model_dump(mode="json")) == twin  # JSON keeps every value


def test_semi_supervised_miniatures_train_with_and_without_labels() -> None:
    for name in ("semisupcon", "mulan_semi"):
        recipe, twin = both(name)
        changed = {"tag_prefix", "labels_used", "head_hidden_size", "head_dim"}
        assert twin.semisupcon.model_dump(exclude=changed) == recipe.semisupcon.model_dump(exclude=changed)
        assert (twin.semisupcon.tag_prefix, twin.semisupcon.labels_used) == ("", 0.5)
        assert twin.views == 2


def test_the_miniature_of_mulap_has_three_segments_and_the_recipe_s_masking() -> None:
    recipe, twin = both("mulap")
    assert (recipe.segments, recipe.encoder_window_samples) == (6, 48_000)  # 2 s of 20 are left over
    assert (twin.segments, twin.encoder_window_samples) == (3, 16_000)
    probabilities = {"dropout", "token_mask_probability", "segment_mask_probability", "mismatch_probability"}
    assert twin.mulap.model_dump(include=probabilities) == recipe.mulap.model_dump(include=probabilities)
    assert twin.mulap.fusion_layers == recipe.mulap.fusion_layers
    assert twin.text_tower.layers > twin.mulap.fusion_layers  # some layers are below the fusion, as in the recipe
    assert twin.mulap.audio_layers > twin.mulap.fusion_layers


def test_a_window_is_one_segment_without_mulap() -> None:
    for name in ("mulan_semi", "semisupcon", "m_resnet50"):
        recipe, _ = both(name)
        assert (recipe.segments, recipe.encoder_window_samples) == (1, recipe.data.window_samples)


@pytest.mark.parametrize("ending", ["", MINIATURE])
def test_with_a_weight_of_zero_for_its_term_mulan_semi_is_m_resnet50(ending: str) -> None:
    base = named_recipes()[f"m_resnet50{ending}"]
    semi = load_recipe(f"mulan_semi{ending}", ["loss.weights.semisupcon=0"])
    assert {field.partition(".")[0] for field in differing_fields(semi, base)} == {"semisupcon"}
    assert (semi.views, semi.segments, semi.encoder_window_samples) == (1, 1, base.data.window_samples)
    added = differing_fields(named_recipes()[f"mulan_semi{ending}"], base).keys() - differing_fields(semi, base).keys()
    assert added == {"loss.weights.semisupcon"}


def test_the_miniature_of_a_changed_recipe_keeps_the_change() -> None:
    settings = ["loss.weights.contrastive=0", "semisupcon.views=3", "semisupcon.weighting=dice"]
    recipe = load_recipe("mulan_semi", [*settings, "semisupcon.labelled_share=0.2"])
    twin = miniature(recipe)
    assert twin.views == 3
    assert twin.loss.weights == recipe.loss.weights
    assert (twin.semisupcon.weighting, twin.semisupcon.labelled_share) == ("dice", 0.2)

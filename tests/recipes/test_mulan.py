"""Tests that the recipes of MuLan have the values of the paper."""

import pytest

from mulan.config.recipe import Recipe, differing_fields
from mulan.recipes.mulan import TEXT_ABLATIONS, m_ast, m_resnet50, m_resnet50_audioset, with_texts
from mulan.recipes.registry import load_recipe
from mulan.training.optimizer import learning_rate


@pytest.mark.parametrize(("name", "pairs"), [("m_resnet50", 6144), ("m_ast", 5120), ("mulan_semi", 6144)])
@pytest.mark.parametrize("workers", [8, 16, 32, 64, 128])
def test_the_paper_s_batches_are_shared_by_the_usual_numbers_of_gpus(name: str, pairs: int, workers: int) -> None:
    recipe = load_recipe(name, [f"scale.workers={workers}"])
    assert recipe.batch.pairs == pairs


@pytest.mark.parametrize(("recipe", "pairs", "epochs"), [(m_resnet50(), 6144, 14), (m_ast(), 5120, 14)])
def test_steps_are_the_paper_s_epochs(recipe: Recipe, pairs: int, epochs: int) -> None:
    """The last step may contain pairs of the next epoch."""
    assert recipe.batch.pairs == pairs
    assert (recipe.train.steps - 1) * pairs < epochs * 44_000_000 <= recipe.train.steps * pairs


def test_ablations_omit_sources_and_keep_the_proportions_of_the_others() -> None:
    """Table 4b."""
    whole, base = m_resnet50().data.source_ratio, m_resnet50()
    used = {name: {source for source, share in ratio if share} for name, ratio in TEXT_ABLATIONS.items()}
    assert used == {
        "aset": {"audioset"},
        "aset_sf": {"audioset", "short_form"},
        "aset_sf_lf": {"audioset", "short_form", "long_form"},
        "unfiltered": {"audioset", "playlist", "short_form_unfiltered", "long_form_unfiltered"},
    }
    for ratio in TEXT_ABLATIONS.values():
        changed = with_texts(base, ratio)
        assert {field.rpartition(".")[0] for field in differing_fields(base, changed)} == {"data.source_ratio"}
        for source, share in changed.data.source_ratio:
            assert share in (0, getattr(whole, source.removesuffix("_unfiltered")))


def test_the_audioset_recipe_has_the_same_audio_tower_and_no_text() -> None:
    """The trunk can therefore initialise ``m_resnet50``."""
    tagger, recipe = m_resnet50_audioset(), m_resnet50()
    assert tagger.audio_tower.replace(expects_pretrained=True) == recipe.audio_tower
    assert tagger.front_end == recipe.front_end
    assert tagger.data.sample_rate_hz == recipe.data.sample_rate_hz
    assert not tagger.loss.weights.uses_text and not tagger.text_tower.pretrained
    assert tagger.tagging.classes == 527


def test_the_audioset_recipe_halves_its_learning_rate_after_ten_epochs_and_every_five_from_there() -> None:
    recipe = m_resnet50_audioset()
    epoch = 2_000_000 // 100
    assert (recipe.batch.pairs, recipe.train.steps) == (100, 30 * epoch)
    by_epoch = [learning_rate(recipe.optim, number * epoch + 1000) / 1e-4 for number in range(30)]
    assert by_epoch == [1.0] * 10 + [0.5] * 5 + [0.25] * 5 + [0.125] * 5 + [0.0625] * 5
    assert learning_rate(recipe.optim, 10 * epoch - 1) == 2 * learning_rate(recipe.optim, 10 * epoch)

"""Tests the text ablations of recipes against the paper's tables."""

import pytest

from mulan.config.errors import RecipeError
from mulan.config.recipe import differing_fields
from mulan.evaluation.published import published_figures
from mulan.recipes.ablations import VARIANTS, text_ablations
from mulan.recipes.mulan import TEXT_ABLATIONS
from mulan.recipes.registry import named_recipes


@pytest.mark.parametrize("recipe", ["m_resnet50", "m_ast", "m_resnet50_miniature", "m_ast_miniature"])
def test_the_variants_of_a_recipe_are_recipes_that_differ_by_their_texts_alone(recipe: str) -> None:
    full, *others = text_ablations(recipe)
    assert (full.name, full.recipe) == ("full", recipe)
    assert {each.name for each in others} == set(TEXT_ABLATIONS)
    recipes = named_recipes()
    for each in others:
        changed = differing_fields(recipes[recipe], recipes[each.recipe])
        assert changed and all(field.startswith("data.source_ratio") for field in changed)
        assert recipes[each.recipe].data.source_ratio == TEXT_ABLATIONS[each.name]


def test_variants_are_in_the_order_of_the_paper() -> None:
    assert VARIANTS == ("full", "aset_sf_lf", "aset_sf", "aset", "unfiltered")
    assert [each.texts for each in text_ablations("m_ast")] == [
        "ASET + SF + LF + PL",
        "ASET + SF + LF",
        "ASET + SF",
        "ASET",
        "SF/LF unfiltered",
    ]


def test_each_variant_of_m_resnet50_has_published_figures() -> None:
    models = {each.model for each in published_figures()}
    assert {each.published for each in text_ablations("m_resnet50")} <= models
    assert {each.published for each in text_ablations("m_ast")} & models == {"MuLan M-AST"}


@pytest.mark.parametrize("recipe", ["demo", "mulap_miniature", "m_resnet50_audioset", "mine.toml", "m_resnet"])
def test_other_recipes_are_refused_with_those_that_have_ablations(recipe: str) -> None:
    with pytest.raises(RecipeError, match=r"has no text ablations; those that have are m_resnet50, m_ast, also with"):
        text_ablations(recipe)


def test_a_variant_is_refused_with_the_recipe_that_it_is_of() -> None:
    with pytest.raises(RecipeError, match="it is a variant of m_resnet50_miniature"):
        text_ablations("m_resnet50_aset_sf_miniature")

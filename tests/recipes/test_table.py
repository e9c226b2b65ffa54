"""Tests that the tables of the recipes' values are those on disk, and leave out no value that a recipe sets."""

import os
from pathlib import Path

import pytest

import mulan
from mulan.config.recipe import Recipe, differing_fields
from mulan.recipes import table
from mulan.recipes.origins.origin import RecipeOrigins
from mulan.recipes.registry import named_recipes

README = Path(mulan.__file__).parent / "recipes" / "README.md"
ALL = {origins.recipe: origins for _, _, recipes in table.SECTIONS for origins in recipes}

OF_THE_MACHINE = ("scale.", "train.checkpoint_", "train.validat", "train.zero_stage", "text_tower.length_groups")
"""Beginnings of fields on which no result depends, apart from the choice of the best checkpoint."""


def test_the_tables_are_those_on_disk() -> None:
    """The file is rewritten with UPDATE_GOLDEN=1."""
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(table.render())
    assert table.render() == README.read_text()


@pytest.mark.parametrize("origins", ALL.values(), ids=ALL)
def test_every_value_that_a_recipe_sets_has_an_origin(origins: RecipeOrigins) -> None:
    recipe, base = named_recipes()[origins.recipe], named_recipes().get(origins.base or "", Recipe())
    listed = [field for origin in origins.origins for field in origin.fields]
    covered = (*OF_THE_MACHINE, *(f"{field}." for field in listed))
    set_here = [field for field, (_, value) in differing_fields(base, recipe).items() if value is not None]
    assert [field for field in set_here if field not in listed and not field.startswith(covered)] == []
    assert len(set(listed)) == len(listed)
    assert all(origin.origin for origin in origins.origins)


def test_every_recipe_of_a_paper_has_a_table() -> None:
    full_size = {name for name in named_recipes() if not name.endswith("_miniature")}
    same_ablations = {name for name in full_size if name.startswith("m_ast_")}
    assert full_size - same_ablations - {"demo"} == set(ALL)


def test_values_are_read_by_their_paths() -> None:
    recipe = named_recipes()["m_resnet50"]
    assert table.value_of(recipe, "batch.micro_batches") == 128
    with pytest.raises(AttributeError):
        table.value_of(recipe, "optim.learning_rate")

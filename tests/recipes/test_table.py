"""Tests that the tables of the recipes' values are those on disk, and leave out no value that a recipe sets."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import mulan
from mulan.benchmarks.variants import variants
from mulan.config.recipe import Recipe, differing_fields, recipe_from_toml
from mulan.recipes import table
from mulan.recipes.origins.origin import RecipeOrigins
from mulan.recipes.registry import load_recipe, named_recipes

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


def test_scores_of_variants_are_marked_if_no_seed_overlaps() -> None:
    def row(name: str, low: float, high: float) -> dict[str, Any]:
        return {"name": name, "remark": "a=1 b=2", "figures": {"genre": {"median": low, "low": low, "high": high}}}

    rows = [row("recipe", 0.5, 0.6), row("above", 0.61, 0.7), row("touching", 0.6, 0.7), row("below", 0.4, 0.49)]
    assert table.variants_table({"rows": rows}).splitlines() == [
        "| variant | settings | genre |",
        "|---|---|---|",
        "| recipe | `a=1`<br>`b=2` | 0.500<br>(0.500 to 0.600) |",
        "| above | `a=1`<br>`b=2` | 0.610 ▲<br>(0.610 to 0.700) |",
        "| touching | `a=1`<br>`b=2` | 0.600<br>(0.600 to 0.700) |",
        "| below | `a=1`<br>`b=2` | 0.400 ▼<br>(0.400 to 0.490) |",
    ]


def test_the_measured_variants_are_those_of_the_demo() -> None:
    report = json.loads(table.VARIANTS.read_text())
    measured, quarter = recipe_from_toml(report["recipe"], name="measured"), named_recipes()["demo"].train.steps // 4
    demo = load_recipe("demo", [f"train.steps={quarter}", f"optim.decay_until_step={quarter}"])
    assert differing_fields(measured, demo) == {}
    settings = {name: " ".join(values) for name, values in variants(demo).items()}
    assert {row["name"]: row["remark"] for row in report["rows"]} == settings


def test_values_are_read_by_their_paths() -> None:
    recipe = named_recipes()["m_resnet50"]
    assert table.value_of(recipe, "batch.micro_batches") == 128
    with pytest.raises(AttributeError):
        table.value_of(recipe, "optim.learning_rate")

"""Tests which objectives a sweep may have, and their figures."""

import math

import pytest

from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe, named_recipes
from tune.errors import SweepError
from tune.objective import Objective, objectives_of

CAPTIONS = "retrieval.captions.long_form.recall10"


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo", ["evaluation.tasks=['captions']"])


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("demo", "validation_recall10"),
        ("semisupcon", "validation_recall10"),
        ("mulap", "validation_atm_accuracy"),
        ("m_resnet50_audioset", "validation_map"),
    ],
)
def test_the_default_is_the_selection_metric(name: str, reported: str) -> None:
    (objective,) = objectives_of([], named_recipes()[name])
    assert (objective.reported, objective.goal) == (reported, "max")


def test_several_objectives(recipe: Recipe) -> None:
    found = objectives_of([f"{CAPTIONS}=max", "recall10=min", "step_seconds=min"], recipe)
    assert [(one.name, one.goal) for one in found] == [
        (CAPTIONS, "max"),
        ("recall10", "min"),
        ("step_seconds", "min"),
    ]


def test_all_faults_are_listed(recipe: Recipe) -> None:
    given = [
        "step_seconds=min",
        "loss=min",
        "recall10",
        "recall10=best",
        "recall11=max",
        "recall10=max",
        "recall10=min",
    ]
    with pytest.raises(SweepError) as raised:
        objectives_of(given, recipe)
    faults = str(raised.value).split("; --objective ")
    assert [fault.split(":")[0].removeprefix("--objective ") for fault in faults] == [
        "step_seconds=min",
        "loss=min",
        "recall10",
        "recall10=best",
        "recall11=max",
        "recall10=min",
    ]
    assert "losses at different temperatures or weights are not comparable" in faults[1]
    assert "there is no such figure; give recall10, step_seconds, or retrieval.captions.long_form.SCORE" in faults[4]
    assert "is given twice" in faults[5]


def test_figures_are_those_of_validations() -> None:
    lines = [
        {"step": 1, "step_s": 3.0},
        {"step": 2, "step_s": 1.0, "validation": {"recall10": 0.25}},
        {"step": 3, "step_s": 1.5},
        {"step": 4, "step_s": 9.0, "validation": {"recall10": None, "map": 1.0}},
        {"step": 5, "validation": {"recall10": math.nan}},
    ]
    assert Objective("recall10", "max", "").scores(lines) == [(2, 0.25)]
    assert Objective("map", "max", "").scores(lines) == [(4, 1.0)]
    assert Objective("step_seconds", "min", "").scores(lines) == [(2, 2.0), (4, 2.25), (5, 2.25)]

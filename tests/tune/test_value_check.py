"""Tests that values for which the corpus or the model has no room are refused before anything starts."""

import dataclasses

import pytest

from tests.tune.sweeps import plan_in
from tune.plan import SweepPlan
from tune.space import SpaceError
from tune.value_check import check_values


def on(plan: SweepPlan, corpus: str) -> SweepPlan:
    return dataclasses.replace(plan, recipe=plan.recipe.replace({"data.uri": corpus}))


def test_all_values_that_cannot_be_trained_are_listed(tiny_corpus: str, run_folder: str) -> None:
    space = """
    [space]
    "data.source_ratio.short_form_unfiltered" = { choice = [0, 1] }
    "text_tower.prefix" = { choice = ["a ", "a long prefix, which fills all of the tokens that a text may have here "] }
    "text_tower.layers" = { choice = [1, 99] }
    "optim.lr" = { uniform = [0.1, 0.2] }
    """
    with pytest.raises(SpaceError) as raised:
        check_values(on(plan_in(run_folder, space=space), tiny_corpus))
    faults = raised.value.faults
    assert [fault.partition("=")[0] for fault in faults] == [
        "data.source_ratio.short_form_unfiltered",
        "text_tower.layers",
        "text_tower.prefix",
    ]
    assert faults[0].startswith("data.source_ratio.short_form_unfiltered=1: ")
    assert "text_tower.layers=99: " in faults[1]


def test_values_that_can_be_trained_are_accepted(tiny_corpus: str, run_folder: str) -> None:
    space = """
    [space]
    "data.text_sampling" = { choice = ["one", "all"] }
    "audio_tower.stem_channels" = { choice = [4, 8] }
    """
    check_values(on(plan_in(run_folder, space=space), tiny_corpus))

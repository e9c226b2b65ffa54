"""Tests the settings of early stopping."""

import pytest

from mulan.recipes.registry import load_recipe
from tune.early_stopping import EarlyStopping, early_stopping_of
from tune.errors import SweepError

RECIPE = load_recipe("demo_miniature", ["train.steps=60", "train.validate_every_steps=10"])


def test_the_defaults_and_given_settings() -> None:
    assert early_stopping_of(RECIPE, grace_steps=None, reduction_factor=None, is_off=False) == EarlyStopping(10, 3.0)
    assert early_stopping_of(RECIPE, grace_steps=20, reduction_factor=2, is_off=False) == EarlyStopping(20, 2)
    assert early_stopping_of(RECIPE, grace_steps=None, reduction_factor=None, is_off=True) is None
    once = RECIPE.replace({"train.validate_every_steps": 0})
    assert early_stopping_of(once, grace_steps=None, reduction_factor=None, is_off=False) == EarlyStopping(60, 3.0)


def test_all_faults_are_listed() -> None:
    with pytest.raises(SweepError) as raised:
        early_stopping_of(RECIPE, grace_steps=5, reduction_factor=1, is_off=True)
    assert str(raised.value).split("; ") == [
        "--grace-steps has no effect with --no-early-stopping",
        "--reduction-factor has no effect with --no-early-stopping",
        "--grace-steps 5: must be between the first validation, at step 10, and train.steps = 60",
        "--reduction-factor 1: must be above 1 and at most 1000",
    ]

"""Tests the record of completed trials, and the number of failures in a row that a trial survives."""

from types import SimpleNamespace
from typing import Any

import pytest

from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe
from mulan.runs.lease import Fence, RunTakenOver
from mulan.runs.run import Run
from tune.planned import Trial, planned_trials
from tune.trials import ERROR, Watch


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo_miniature", ["train.steps=6", "scale.max_failures=2"])


@pytest.fixture
def trials(recipe: Recipe, run_folder: str) -> list[Trial]:
    return planned_trials(recipe, Run(run_folder, "s"), 2)


class Unchallenged(Fence):
    """The fence of a sweep that is not taken over."""

    def __init__(self) -> None:
        super().__init__("", 1, "")

    def check(self) -> None:
        pass


class TakenOver(Unchallenged):
    def check(self) -> None:
        raise RunTakenOver("s was taken over")


def tune_trial(trial: Trial, *, num_failures: int = 0) -> Any:
    """Returns the fields of Tune's object for a trial."""
    config = {"trial": {"name": trial.run.name, "values": trial.values}}
    return SimpleNamespace(config=config, last_result=None, num_failures=num_failures, max_failures=2)


def result(watch: Watch, trial: Any, **values: Any) -> None:
    trial.last_result = values
    watch.on_trial_result(1, [], trial, values)


def test_a_stopped_trial_is_completed(recipe: Recipe, trials: list[Trial]) -> None:
    watch, one = Watch(recipe, trials, Unchallenged()), tune_trial(trials[0])
    result(watch, one, step=2, validation_recall10=0.5)
    assert not trials[0].is_over(recipe)
    watch.on_trial_complete(1, [], one)
    assert [trial.is_over(recipe) for trial in trials] == [True, False]
    assert not watch.errors


def test_a_sweep_that_was_taken_over_records_nothing(recipe: Recipe, trials: list[Trial]) -> None:
    watch, one = Watch(recipe, trials, TakenOver()), tune_trial(trials[0])
    result(watch, one, step=2, validation_recall10=0.5)
    with pytest.raises(RunTakenOver):
        watch.on_trial_complete(1, [], one)
    assert not trials[0].is_over(recipe)


def test_a_trial_with_a_permanent_error_is_reported_and_not_completed(
    recipe: Recipe, trials: list[Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    watch, one = Watch(recipe, trials, Unchallenged()), tune_trial(trials[1])
    result(watch, one, step=2, validation_recall10=0.5)
    result(watch, one, step=0, validation_recall10=0.0, **{ERROR: "no room on the disk"})
    watch.on_trial_complete(1, [], one)
    assert watch.errors == ["no room on the disk"]
    assert not trials[1].is_over(recipe)
    assert capsys.readouterr().out.splitlines()[1:] == ["tune  trial_0001  failed: no room on the disk"]


def test_only_failures_since_the_last_progress_count(recipe: Recipe, trials: list[Trial]) -> None:
    watch, one = Watch(recipe, trials, Unchallenged()), tune_trial(trials[0])
    result(watch, one, step=2, validation_recall10=0.5)
    assert one.max_failures == 2
    one.num_failures = 2
    result(watch, one, step=2, validation_recall10=0.5)  # repeated after a failure: no progress
    assert one.max_failures == 2
    result(watch, one, step=4, validation_recall10=0.5)
    assert one.max_failures == 4

"""Tests the state of trials as read from the sweep's folder."""

import json
import math

import pytest

from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import DamagedFile
from tests.tune.sweeps import plan_in, saved
from tune.errors import SweepError
from tune.plan import SweepPlan
from tune.trial import Failure, check_steps, planned_trials


@pytest.fixture
def plan(run_folder: str) -> SweepPlan:
    return plan_in(run_folder)


def longer(plan: SweepPlan, steps: int) -> SweepPlan:
    """Returns the same sweep with another number of steps."""
    return plan_in(plan.run.storage_uri, settings=[f"train.steps={steps}"])


def test_existing_trials_belong_to_the_sweep(plan: SweepPlan) -> None:
    for trial in planned_trials(plan, 3):
        saved(trial, 2)
    trials = planned_trials(plan, 1)
    assert [trial.run.name for trial in trials] == ["trial_0000", "trial_0001", "trial_0002"]
    assert [trial.run.uri for trial in trials] == [f"{plan.run.uri}/trials/trial_000{number}" for number in range(3)]


def test_other_folders_are_no_trials(plan: SweepPlan) -> None:
    for name in ("trial_20261130", "trial_1", "trial_0001.old"):
        filesystem.write_atomically(f"{plan.runs_uri}/{name}/notes.txt", b"")
    assert len(planned_trials(plan, 1)) == 1


def test_the_state_of_trials(plan: SweepPlan) -> None:
    begun, stopped, complete, waiting = planned_trials(plan, 4)
    stopped.end(2, train_steps=6)
    saved(complete, 6)
    saved(begun, 4)
    assert [trial.is_over(plan.recipe) for trial in (begun, stopped, complete, waiting)] == [False, True, True, False]
    assert [trial.was_stopped() for trial in (begun, stopped, complete, waiting)] == [False, True, False, False]


def test_a_longer_sweep_continues_trials_that_were_not_stopped(plan: SweepPlan) -> None:
    stopped, complete = planned_trials(plan, 2)
    stopped.end(2, train_steps=6)
    complete.end(6, train_steps=6)
    assert [trial.is_over(plan.recipe) for trial in (stopped, complete)] == [True, True]
    extended = longer(plan, 12)
    assert [trial.is_over(extended.recipe) for trial in (stopped, complete)] == [True, False]
    assert planned_trials(extended, 2) == [stopped, complete]


def test_fewer_steps_than_those_of_a_trial_are_refused(plan: SweepPlan) -> None:
    trials = planned_trials(plan, 2)
    saved(trials[1], 6)
    check_steps(trials, 6)
    with pytest.raises(SweepError, match=r"trial_0001 has a checkpoint of step 6, so train\.steps = 5 cannot be"):
        check_steps(trials, 5)


@pytest.mark.parametrize(
    ("kind", "setting", "is_over"),
    [
        ("diverged", "health.non_finite=stop", True),
        ("diverged", "health.non_finite=warn", False),
        ("collapsed", "health.collapse=stop", True),
        ("out of memory", "health.non_finite=stop", False),
        ("failed", "health.non_finite=stop", False),
    ],
)
def test_only_failures_that_would_happen_again_are_final(
    run_folder: str, kind: str, setting: str, is_over: bool
) -> None:
    plan = plan_in(run_folder, settings=["train.steps=6", setting])
    (trial,) = planned_trials(plan, 1)
    failure = Failure(kind, 3, "the loss of step 4 is nan")  # type: ignore[arg-type]
    trial.fail(failure)
    assert trial.failure() == failure
    assert trial.is_over(plan.recipe) == is_over
    assert trial.begin({}, is_known=True).failure() is None


def test_a_chosen_point_is_stored_and_known_to_later_calls(run_folder: str) -> None:
    plan = plan_in(run_folder, method="optuna")
    own, trial = planned_trials(plan, 2)
    assert (own.point, trial.point) == ({}, None)
    point = {"optim.lr": 0.005, "loss.temperature_init": 0.1}
    begun = trial.begin(point, is_known=False)
    assert begun.settings == ["loss.temperature_init=0.1", "optim.lr=0.005"]
    assert planned_trials(plan, 2)[1] == begun


def test_damaged_files_of_a_trial_are_named(run_folder: str) -> None:
    plan = plan_in(run_folder, method="optuna")
    trial = planned_trials(plan, 2)[1]
    for name, content in {"over.json": "{}", "failure.json": "[3]"}.items():
        filesystem.write_atomically(f"{trial.run.uri}/{name}", content.encode())
        with pytest.raises(DamagedFile, match=rf"trial_0001/{name} is damaged"):
            trial.is_over(plan.recipe)
        filesystem.remove(f"{trial.run.uri}/{name}")
    odd = [json.dumps(dict.fromkeys(plan.space.domains, value)) for value in (None, math.nan, "x", {}, True, -1.0)]
    for content in ("{", "[" * 9999, "[]", '{"optim.lr": 1}', *odd):
        filesystem.write_atomically(f"{trial.run.uri}/point.json", content.encode())
        with pytest.raises(DamagedFile, match=r"trial_0001/point\.json is damaged"):
            planned_trials(plan, 2)


def test_the_run_of_a_trial_is_in_the_folder_of_the_sweep(plan: SweepPlan) -> None:
    assert planned_trials(plan, 1)[0].run == Run(f"{plan.run.uri}/trials", "trial_0000")

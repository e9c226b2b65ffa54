"""Tests the numbers of a sweep's result against counts by hand."""

import shlex

import pytest

from mulan.recipes.registry import load_recipe
from tests.tune.sweeps import SPACE, options, plan_in, trained
from tune.early_stopping import EarlyStopping
from tune.outcome import outcome_of
from tune.plan import SweepPlan
from tune.summary import SweepResult, compute_of, pareto_front, to_json
from tune.trial import Failure, planned_trials


def swept(plan: SweepPlan) -> SweepResult:
    """Returns a sweep of six trials: own, complete, stopped, diverged, unfinished, waiting."""
    trials = planned_trials(plan, 6)
    for trial, scores in zip(trials, [(0.1, 0.2, 0.4), (0.1, 0.2, 0.5), (0.9,), (), (0.3,)], strict=False):
        trained(trial, *scores)
    for number, steps in {0: 6, 1: 6, 2: 2}.items():
        trials[number].end(steps, train_steps=6)
    trained(trials[3], 0.7)
    trials[3].fail(Failure("diverged", 2, "the loss of step 3 is nan"))
    return SweepResult(plan, options(6, asha=EarlyStopping(2)), [outcome_of(trial, plan) for trial in trials])


def test_compute_counts_trials_that_have_ended(run_folder: str) -> None:
    plan = plan_in(run_folder, settings=["train.steps=6", "scale.workers=2"])
    compute = compute_of(plan, swept(plan).outcomes)
    # own and complete: 6 + 6; stopped: 2 of 6; diverged: 2, and no more would have been possible
    assert (compute.steps, compute.steps_to_the_end) == (6 + 6 + 2 + 2, 6 + 6 + 6 + 2)
    assert (compute.worker_seconds, compute.worker_seconds_to_the_end) == (2 * 16.0, 2 * 20.0)
    assert compute.share_of_steps == compute.share_of_seconds == pytest.approx(0.8)
    assert compute.describe() == (
        "16 of 20 steps (80%), and 32 of 40 worker-seconds (80%), that all trials to the end would take"
    )
    assert compute_of(plan, []).share_of_steps == 1


def test_the_best_trial_was_trained_to_the_end_and_its_command_trains_it(run_folder: str) -> None:
    result = swept(plan_in(run_folder, space=SPACE))
    assert result.best is not None
    assert (result.best.trial.number, result.own.trial.number) == (1, 0)
    words = shlex.split(result.command(result.best))
    assert words[:7] == ["python", "-m", "jobs.train", "--data", "my music", "--name", "s_trial_0001"]
    recipe = load_recipe("demo_miniature", words[8::2])
    point = result.best.trial.point
    assert point is not None
    assert (recipe.optim.lr, recipe.optim.warmup_steps) == (point["optim.lr"], point["optim.warmup_steps"])
    assert result.command(result.own) == "python -m jobs.train --data 'my music' --name s_trial_0000"


def test_the_json_has_everything(run_folder: str) -> None:
    result = swept(plan_in(run_folder, space=SPACE))
    content = to_json(result, {"optim.lr": 1.0})
    assert [one["state"] for one in content["trials"]] == [
        "completed",
        "completed",
        "stopped",
        "diverged",
        "unfinished",
        "waiting",
    ]
    assert content["trials"][3]["failure"] == {"step": 2, "reason": "the loss of step 3 is nan"}
    assert content["trials"][1]["curves"] == {"recall10": [[2, 0.1], [4, 0.2], [6, 0.5]]}
    assert content["best"]["trial"] == "trial_0001"
    assert (content["best"]["recall10"], content["best"]["own_values"]["recall10"]) == (0.5, 0.4)
    assert content["compute"]["share_of_steps"] == pytest.approx(0.8)
    assert content["early_stopping"] == {"grace_steps": 2, "reduction_factor": 3.0}
    assert (content["importance"], content["pareto_front"]) == ({"optim.lr": 1.0}, ["trial_0001"])
    assert content["space"]["optim.lr"] == {"loguniform": [1e-4, 1e-2]}


def test_the_front_of_two_objectives(run_folder: str) -> None:
    plan = plan_in(run_folder, objectives=["recall10=max", "step_seconds=min"])
    figures = {0: (0.5, 2.0), 1: (0.4, 1.0), 2: (0.5, 3.0), 3: (0.3, 1.5), 4: (0.6, 9.0), 5: (0.5, 2.0), 6: (0.9, 0.1)}
    trials = planned_trials(plan, 7)
    for number, (score, seconds) in figures.items():
        trained(trials[number], score, every=2 if number == 6 else 6, step_s=seconds)
        trials[number].end(2 if number == 6 else 6, train_steps=6)
    front = pareto_front(plan, [outcome_of(trial, plan) for trial in trials])
    # trial 6 was stopped; trials 0 and 5 are equal
    assert [one.trial.number for one in front] == [4, 0, 5, 1]

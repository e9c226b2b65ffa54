"""Tests that Optuna's points follow from the trials' files alone, and that what is told to it is what happened."""

import math

import optuna
import pytest
from optuna.trial import TrialState

from tests.tune.sweeps import SPACE, plan_in, trained
from tune.optuna_points import choose_point, rebuilt_study
from tune.outcome import outcome_of
from tune.plan import SweepPlan
from tune.points import Point
from tune.trial import Failure, Trial, planned_trials


def begun(plan: SweepPlan, number: int, point: Point) -> Trial:
    return planned_trials(plan, number + 1)[number].begin(point, is_known=False)


POINT = {"audio_tower.stem_channels": 8, "optim.lr": 0.001, "optim.warmup_steps": 1}


def told(plan: SweepPlan, trials: list[Trial]) -> list[optuna.trial.FrozenTrial]:
    return rebuilt_study(plan, [outcome_of(trial, plan) for trial in trials]).trials


def test_what_happened_is_told(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE, method="optuna")
    complete, stopped, failed, running = (begun(plan, number, POINT) for number in range(1, 5))
    trained(complete, 0.1, 0.2, 0.5)
    complete.end(6, train_steps=6)
    trained(stopped, 0.1)
    stopped.end(2, train_steps=6)
    failed.fail(Failure("diverged", 1, "nan"))
    own, unchosen = planned_trials(plan, 6)[0], planned_trials(plan, 6)[5]
    found = told(plan, [unchosen, running, failed, stopped, complete, own])
    assert [one.state for one in found] == [
        TrialState.RUNNING,  # the recipe's own values, which are in the space
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert found[1].value == 0.5
    assert found[2].intermediate_values == {2: 0.1}
    assert found[1].params == {"audio_tower.stem_channels": 1, "optim.lr": 0.001, "optim.warmup_steps": 1}


def test_own_values_outside_of_the_space_are_not_told(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE, method="optuna", settings=["optim.lr=0.05"])
    assert told(plan, planned_trials(plan, 1)) == []


@pytest.mark.parametrize("objectives", [["recall10=max"], ["recall10=max", "step_seconds=min"]])
def test_points_are_in_the_space_and_follow_from_the_files(run_folder: str, objectives: list[str]) -> None:
    def sweep(folder: str, *, forget: bool) -> list[Point]:
        plan = plan_in(folder, space=SPACE, method="optuna", objectives=objectives)
        trials = planned_trials(plan, 15)
        for number in range(1, 15):
            if forget:  # another process, which knows only the files
                trials = planned_trials(plan, 15)
            point = choose_point(plan, number, [outcome_of(trial, plan) for trial in trials])
            assert all(domain.contains(point[field]) for field, domain in plan.space.domains.items())
            trials[number] = trials[number].begin(point, is_known=False)
            trained(trials[number], *([1 - abs(math.log10(point["optim.lr"] / 0.003))] * (1 if number % 3 else 3)))
            trials[number].end(2 if number % 3 else 6, train_steps=6)
        return [trial.point or {} for trial in trials]

    points = sweep(f"{run_folder}/a", forget=False)
    assert len({str(point) for point in points}) == 15
    assert sweep(f"{run_folder}/b", forget=True) == points


def distance(plan: SweepPlan) -> float:
    """Returns the mean distance, in decades, of the last ten of 30 points from the best learning rate."""
    trials = planned_trials(plan, 30)
    for number in range(1, 30):
        point = choose_point(plan, number, [outcome_of(one, plan) for one in trials])
        trials[number] = trials[number].begin(point, is_known=False)
        trained(trials[number], 1 - abs(math.log10(point["optim.lr"] / 0.003)), every=6)
        trials[number].end(6, train_steps=6)
    return sum(abs(math.log10((trial.point or {})["optim.lr"] / 0.003)) for trial in trials[-10:]) / 10


def test_later_points_are_near_the_optimum(run_folder: str) -> None:
    space = '[space]\n"optim.lr" = { loguniform = [1e-6, 1.0] }'
    plan = plan_in(run_folder, space=space, method="optuna")
    found = distance(plan)
    # points at random have a mean distance of 1.6 decades
    assert found < 1.0

"""Tests the outcomes of trials, and their order."""

from typing import Any

import pytest

from mulan.storage.jsonl import DamagedFile
from tests.monitoring.planted import append
from tests.tune.sweeps import plan_in, trained
from tune.outcome import outcome_of, ranked
from tune.trial import Failure, planned_trials


def test_the_outcome_of_trials_in_every_state(run_folder: str) -> None:
    plan = plan_in(
        run_folder, settings=["train.steps=6", "scale.workers=2"], objectives=["recall10=max", "step_seconds=min"]
    )
    waiting, begun, stopped, complete, failed = planned_trials(plan, 5)
    trained(begun, 0.25, step_s=2.0)
    trained(stopped, 0.1)
    stopped.end(2, train_steps=6)
    trained(complete, 0.1, 0.2, 0.5)
    complete.end(6, train_steps=6)
    failed.fail(Failure("out of memory", 0, "CUDA out of memory"))
    outcomes = [outcome_of(trial, plan) for trial in (waiting, begun, stopped, complete, failed)]
    assert [one.state for one in outcomes] == ["waiting", "unfinished", "stopped", "completed", "out of memory"]
    assert [one.steps for one in outcomes] == [0, 2, 2, 6, 0]
    assert [one.worker_seconds for one in outcomes] == [0, 2 * 2 * 2.0, 2 * 2, 6 * 2, 0]
    assert outcomes[3].scores == {"recall10": [(2, 0.1), (4, 0.2), (6, 0.5)], "step_seconds": [(2, 1), (4, 1), (6, 1)]}
    assert [one.last(plan.objective) for one in outcomes] == [None, 0.25, 0.1, 0.5, None]
    assert outcomes[4].failure == failed.failure()


@pytest.mark.parametrize(
    "line",
    [
        {"validation": 3},
        {"validation": {"recall10": "x"}},
        {"step_s": "x"},
        {"step_s": 1, "workers": None},
        {"step_s": 10**400},
    ],
)
def test_metrics_of_other_types_are_named(run_folder: str, line: dict[str, Any]) -> None:
    plan = plan_in(run_folder)
    trial = planned_trials(plan, 1)[0]
    append(trial.run.metrics_uri, [{"step": 1} | line])
    with pytest.raises(DamagedFile, match=r"trial_0000/metrics\.jsonl is damaged"):
        outcome_of(trial, plan)


def test_trials_to_the_end_come_first_and_then_the_best(run_folder: str) -> None:
    scores = {1: (0.1, 0.2, 0.3), 2: (0.9,), 3: (0.1, 0.2, 0.4), 4: (0.8,), 5: (0.1, 0.1, 0.4)}
    for goal, order in {"max": [3, 5, 1, 2, 4], "min": [1, 3, 5, 4, 2]}.items():
        plan = plan_in(run_folder, name=goal, objectives=[f"recall10={goal}"])
        trials = planned_trials(plan, 6)
        for number, validated in scores.items():
            trained(trials[number], *validated)
            trials[number].end(2 * len(validated), train_steps=6)
        found = ranked([outcome_of(trial, plan) for trial in trials], plan.objective)
        assert [one.trial.number for one in found] == order

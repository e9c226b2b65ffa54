"""Tests that the results of a sweep are written when it is interrupted; tests/tune/test_sweep.py runs whole sweeps."""

import json

import pytest

from mulan.runs.lease import RunTakenOver
from mulan.runs.stop import RunStopped
from mulan.storage import filesystem
from tests.tune.sweeps import options, plan_in, trained
from tests.tune.test_watch import TakenOver, Unchallenged
from tune import execution as module
from tune.errors import SweepError, SweepUnfinished
from tune.execution import execute, written_whatever_happens
from tune.results import SweepResults
from tune.trial import Failure, planned_trials


def test_an_interrupted_sweep_has_results(run_folder: str) -> None:
    plan = plan_in(run_folder)
    results = SweepResults(plan, options(2))
    trained(planned_trials(plan, 1)[0], 0.5)
    with pytest.raises(KeyboardInterrupt), written_whatever_happens(results, Unchallenged()):
        raise KeyboardInterrupt
    content = json.loads(filesystem.read_bytes(f"{plan.run.uri}/sweep.json"))
    assert content["trials"][0]["figures"] == {"recall10": 0.5}


def test_a_sweep_that_was_taken_over_writes_nothing(run_folder: str) -> None:
    plan = plan_in(run_folder)
    with (
        pytest.raises(RunTakenOver, match="other"),
        written_whatever_happens(SweepResults(plan, options(2)), TakenOver()),
    ):
        raise RunTakenOver("other")
    assert not filesystem.exists(f"{plan.run.uri}/sweep.json")


def test_a_completed_sweep_is_reported_without_a_cluster(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_in(run_folder)
    trials = planned_trials(plan, 2)
    for trial, scores in zip(trials, [(0.1, 0.2, 0.3), (0.2,)], strict=True):
        trained(trial, *scores)
        trial.end(2 * len(scores), train_steps=6)
    execute(plan, options(2), None, Unchallenged())  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert "8 of 12 steps (67%)" in printed
    assert printed.splitlines()[-2:] == ["best: the recipe as it is", f"page: {plan.run.uri}/sweep.html"]
    assert filesystem.exists(f"{plan.run.uri}/sweep.html")


def test_a_sweep_without_scores_is_an_error_and_has_a_page(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_in(run_folder)
    (trial,) = planned_trials(plan, 1)
    trial.fail(Failure("diverged", 0, "the loss of step 1 is nan"))
    with pytest.raises(SweepError, match="no trial reached a validation"):
        execute(plan, options(1), None, Unchallenged())  # type: ignore[arg-type]
    assert b"the loss of step 1 is nan" in filesystem.read_bytes(f"{plan.run.uri}/sweep.html")
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {plan.run.uri}/sweep.html"


def test_a_sweep_whose_trials_were_all_given_up_may_be_repeated(
    run_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_run", lambda *arguments: ([], ["its process was lost"]))
    with pytest.raises(SweepUnfinished, match=r"1 trials were given up; .*: its process was lost") as raised:
        execute(plan_in(run_folder), options(1), None, Unchallenged())  # type: ignore[arg-type]
    assert raised.value.exit_code == 1


def test_whatever_prevents_the_results_does_not_hide_what_ended_the_sweep(
    run_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = SweepResults(plan_in(run_folder), options(2))
    monkeypatch.setattr(results, "write", lambda result: 1 / 0)
    with pytest.raises(RunStopped), written_whatever_happens(results, Unchallenged()):
        raise RunStopped("stopped")

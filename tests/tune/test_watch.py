"""Tests the record of how trials end, and the number of failures in a row that a trial survives."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError

from jobs.arguments import CONSOLE
from mulan.runs.lease import Fence, RunTakenOver
from mulan.storage import filesystem
from tests.tune.sweeps import plan_in, saved, trained
from tune.plan import SweepPlan
from tune.trial import Failure, Trial, planned_trials
from tune.watch import ERROR, ERROR_KIND, Watch


@pytest.fixture
def plan(run_folder: str) -> SweepPlan:
    return plan_in(run_folder, settings=["train.steps=6", "scale.max_failures=2"])


@pytest.fixture
def trials(plan: SweepPlan) -> list[Trial]:
    return planned_trials(plan, 2)


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
    config = {"trial": {"name": trial.run.name, "settings": trial.settings}}
    return SimpleNamespace(config=config, last_result=None, num_failures=num_failures, max_failures=2)


def result(watch: Watch, trial: Any, **values: Any) -> None:
    trial.last_result = values
    watch.on_trial_result(1, [], trial, values)


def test_a_stopped_trial_is_completed(plan: SweepPlan, trials: list[Trial]) -> None:
    watch, one = Watch(plan, trials, Unchallenged(), CONSOLE), tune_trial(trials[0])
    result(watch, one, step=2, validation_recall10=0.5)
    assert not trials[0].is_over(plan.recipe)
    watch.on_trial_complete(1, [], one)
    assert [trial.is_over(plan.recipe) for trial in trials] == [True, False]
    assert not watch.errors


def test_a_trial_whose_process_was_lost_after_its_last_checkpoint_is_not_a_stopped_one(
    plan: SweepPlan, trials: list[Trial]
) -> None:
    watch, one = Watch(plan, trials, Unchallenged(), CONSOLE), tune_trial(trials[0])
    result(watch, one, step=4, validation_recall10=0.5)
    saved(trials[0], 6)
    watch.on_trial_complete(1, [], one)  # its next process found nothing to train
    assert not trials[0].was_stopped()
    assert trials[0].is_over(plan.recipe)


def test_a_sweep_that_was_taken_over_records_nothing(plan: SweepPlan, trials: list[Trial]) -> None:
    watch, one = Watch(plan, trials, TakenOver(), CONSOLE), tune_trial(trials[0])
    result(watch, one, step=2, validation_recall10=0.5)
    with pytest.raises(RunTakenOver):
        watch.on_trial_complete(1, [], one)
    assert not trials[0].is_over(plan.recipe)


@pytest.mark.parametrize(
    ("kind", "is_over", "printed"),
    [("failed", False, "failed: no room on the disk"), ("diverged", True, "diverged: no room on the disk")],
)
def test_a_trial_with_a_permanent_error_is_recorded(
    plan: SweepPlan, trials: list[Trial], capsys: pytest.CaptureFixture[str], kind: str, is_over: bool, printed: str
) -> None:
    trained(trials[1], 0.5)
    watch, one = Watch(plan, trials, Unchallenged(), CONSOLE), tune_trial(trials[1])
    result(watch, one, step=2, validation_recall10=0.5)
    result(watch, one, step=0, validation_recall10=0.0, **{ERROR: "no room on the disk", ERROR_KIND: kind})
    watch.on_trial_complete(1, [], one)
    assert watch.errors == ["no room on the disk"]
    assert trials[1].failure() == Failure(kind, 2, "no room on the disk")  # type: ignore[arg-type]
    assert trials[1].is_over(plan.recipe) == is_over
    assert capsys.readouterr().out.splitlines()[1:] == [f"tune  trial_0001  {printed}"]


def test_only_failures_since_the_last_progress_count(plan: SweepPlan, trials: list[Trial]) -> None:
    watch, one = Watch(plan, trials, Unchallenged(), CONSOLE), tune_trial(trials[0])
    result(watch, one, step=2, validation_recall10=0.5)
    assert one.max_failures == 2
    one.num_failures = 2
    result(watch, one, step=2, validation_recall10=0.5)  # repeated after a failure: no progress
    assert one.max_failures == 2
    result(watch, one, step=4, validation_recall10=0.5)
    assert one.max_failures == 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("Task was killed due to the node running low on memory"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory"),
        (ConnectionError("the head does not answer"), "failed"),
        (None, "failed"),
    ],
)
def test_a_trial_that_was_given_up_is_recorded_and_may_be_tried_again(
    plan: SweepPlan, trials: list[Trial], tmp_path: Path, error: Exception | None, kind: str
) -> None:
    changes: list[None] = []
    watch = Watch(plan, trials, Unchallenged(), CONSOLE, lambda: changes.append(None))
    one = tune_trial(trials[1])
    one.pickled_error_file = str(tmp_path / "error.pkl") if error else None
    (tmp_path / "error.pkl").write_bytes(pickle.dumps(error))
    watch.on_trial_error(1, [], one)
    failure = trials[1].failure()
    assert failure is not None
    assert (failure.kind, failure.step, failure.reason) == (kind, 0, watch.lost[0])
    assert not trials[1].is_over(plan.recipe)
    assert len(changes) == 1


def test_what_cannot_be_read_of_a_trial_does_not_end_the_sweep(
    plan: SweepPlan, trials: list[Trial], tmp_path: Path
) -> None:
    watch, one = Watch(plan, trials, Unchallenged(), CONSOLE), tune_trial(trials[1])
    filesystem.write_atomically(trials[1].run.metrics_uri, b"damaged\n")
    (tmp_path / "error.pkl").write_bytes(b"no pickle")
    one.pickled_error_file = str(tmp_path / "error.pkl")
    watch.on_trial_error(1, [], one)
    failure = trials[1].failure()
    assert failure is not None
    assert failure.reason.startswith("its error cannot be read: ")


def test_what_an_error_says_cannot_control_the_terminal(
    plan: SweepPlan, trials: list[Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    watch, one = Watch(plan, trials, Unchallenged(), CONSOLE), tune_trial(trials[1])
    one.last_result = {"step": 0, ERROR: "cannot decode a\x1b[2J.wav", ERROR_KIND: "failed"}
    watch.on_trial_complete(1, [], one)
    assert "cannot decode a\\x1b[2J.wav" in capsys.readouterr().out


def test_tune_can_store_it(plan: SweepPlan, trials: list[Trial]) -> None:
    assert isinstance(pickle.loads(pickle.dumps(Watch(plan, trials, Unchallenged(), CONSOLE))), Watch)

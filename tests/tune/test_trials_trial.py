"""Tests that a trial raises errors that another attempt may not meet, for Tune to retry, and reports others."""

from typing import Any

import pytest
import ray.tune
import torch

from mulan.launch.policies import ControllerLost, TrainingFailed
from mulan.recipes.registry import load_recipe
from mulan.runs.lease import Fence
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped, StopRequest
from mulan.storage.errors import StorageError
from mulan.training.health import EmbeddingsCollapsed, NonFiniteStep
from tune import trials as module
from tune.trials import trial
from tune.watch import ERROR, ERROR_KIND

SWEEP = Fence("/nowhere", 1, "driver")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns what a trial trained and reported; its training raises ``ran["error"]``."""
    ran: dict[str, Any] = {}

    def fit(recipe: Any, run: Any, **named: Any) -> None:
        ran.update(recipe=recipe, run=run, **named)
        if "error" in ran:
            raise ran["error"]

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "TuneReportCallback", lambda: "callback")
    monkeypatch.setattr(ray.tune, "report", lambda values: ran.update(reported=values))
    return ran


def begin(*settings: str) -> None:
    config = {"trial": {"name": "trial_0003", "settings": ["optim.lr=0.004", *settings]}}
    base = load_recipe("demo_miniature", [])
    shared: Any = "reference"
    trial(config, base=base, runs_uri="/runs/s/trials", reader=shared, sweep=SWEEP, score="validation_recall10")


def test_a_trial_trains_its_point_in_its_own_run_with_the_shared_reader(ran: dict[str, Any]) -> None:
    begin()
    assert ran["recipe"].optim.lr == 0.004
    assert ran["run"] == Run("/runs/s/trials", "trial_0003")
    assert (ran["reader"], ran["callbacks"], ran["sweep"]) == ("reference", ["callback"], SWEEP)
    assert "reported" not in ran


def test_a_trial_that_reads_something_else_opens_the_corpus_itself(ran: dict[str, Any]) -> None:
    begin("data.text_sampling=all")
    assert ran["recipe"].data.text_sampling == "all"
    assert ran["reader"] is None


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (NonFiniteStep.__name__, "diverged"),
        (EmbeddingsCollapsed.__name__, "collapsed"),
        (torch.OutOfMemoryError.__name__, "out of memory"),
        ("TooManySkippedRecordings", "failed"),
    ],
)
def test_an_error_that_another_attempt_would_meet_again_is_reported(ran: dict[str, Any], cause: str, kind: str) -> None:
    ran["error"] = TrainingFailed("run trial_0003 stopped", exit_code=2, cause_name=cause)
    begin()
    assert ran["reported"] == {
        "step": 0,
        "validation_recall10": 0.0,
        ERROR: "run trial_0003 stopped",
        ERROR_KIND: kind,
    }


def test_a_point_that_is_no_valid_recipe_fails_its_trial_alone(ran: dict[str, Any]) -> None:
    begin("optim.warmup_steps=2.5")
    assert "optim.warmup_steps = 2.5" in ran["reported"][ERROR]
    assert ran["reported"][ERROR_KIND] == "failed"
    assert "run" not in ran


@pytest.mark.parametrize(
    "error",
    [ControllerLost("it died"), StorageError("it does not answer"), ConnectionError("the head does not answer")],
)
def test_an_error_that_another_attempt_may_not_meet_is_raised(ran: dict[str, Any], error: Exception) -> None:
    ran["error"] = error
    with pytest.raises(type(error)):
        begin()
    assert "reported" not in ran


class Waiting(Exception):
    """Raised in place of waiting until the sweep ends the process."""


def test_a_stopped_trial_neither_ends_nor_begins(ran: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def wait() -> None:
        raise Waiting

    monkeypatch.setattr(module, "wait_for_the_end", wait)
    ran["error"] = RunStopped("stopped at step 3")
    with pytest.raises(Waiting):
        begin()
    assert "reported" not in ran and ran.pop("run")
    monkeypatch.setattr(module, "stop_request_to", lambda fences: StopRequest("me", 0.0) if fences == [SWEEP] else None)
    with pytest.raises(Waiting):
        begin()
    assert "run" not in ran

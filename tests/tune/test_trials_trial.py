"""Tests how a trial handles errors: Tune retries only those that another attempt may not meet."""

from typing import Any

import pytest
import ray.tune

from mulan.launch.policies import ControllerLost, TrainingFailed
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage.errors import StorageError
from tune import trials as module
from tune.trials import FAULT, metric, trial

CONFIG = {"trial": {"name": "trial_0003", "values": {"optim.lr": 0.004}}}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a trial whose training ends by ``ran["ends"]``, what it trained and what it reported."""
    ran: dict[str, Any] = {}

    def fit(recipe: Any, run: Any, **named: Any) -> None:
        ran.update(recipe=recipe, run=run, **named)
        if "ends" in ran:
            raise ran["ends"]

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "TuneReportCallback", lambda: "callback")
    monkeypatch.setattr(ray.tune, "report", lambda values: ran.update(reported=values))
    return ran


def begin(reader: Any = "reference") -> None:
    base = load_recipe("demo_miniature", [])
    trial(CONFIG, base=base, runs_uri="/runs/s/trials", reader=reader)


def test_a_trial_trains_its_point_in_its_run_and_loads_no_index(ran: dict[str, Any]) -> None:
    begin()
    assert ran["recipe"].optim.lr == 0.004
    assert ran["run"] == Run("/runs/s/trials", "trial_0003")
    assert (ran["reader"], ran["callbacks"]) == ("reference", ["callback"])
    assert "reported" not in ran


def test_what_another_attempt_would_meet_again_is_reported(ran: dict[str, Any]) -> None:
    ran["ends"] = TrainingFailed("run trial_0003 stopped: step 3: the loss is not finite", exit_code=2)
    begin()
    assert ran["reported"] == {"step": 0, metric(ran["recipe"]): 0.0, FAULT: str(ran["ends"])}


@pytest.mark.parametrize(
    "loss", [ControllerLost("it died"), StorageError("it does not answer"), ConnectionError("a head that is away")]
)
def test_what_another_attempt_may_mend_is_raised(ran: dict[str, Any], loss: Exception) -> None:
    ran["ends"] = loss
    with pytest.raises(type(loss)):
        begin()
    assert "reported" not in ran

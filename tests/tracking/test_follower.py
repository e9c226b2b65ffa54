"""Tests that trackers neither stop nor delay training or each other, whatever they do."""

import time
from pathlib import Path
from typing import Any

import pytest

from mulan.tracking import feed, follower
from mulan.tracking.follower import follow_run
from mulan.tracking.tracker import Outcome
from tests.tracking.planted import PlantedTracker, append_steps, planted_run, recipe_with


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PERIOD_S", "_REMOTE_PERIOD_S", "RETRY_PERIOD_S"):
        monkeypatch.setattr(feed, name, 0.01)
    monkeypatch.setattr(follower, "END_TIMEOUT_S", 0.5)


def test_a_tracker_that_hangs_is_given_up_and_the_others_have_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_CHECK_PERIOD_S", 0.01)
    monkeypatch.setattr(follower, "SILENCE_S", 0.05)
    recipe = recipe_with("mlflow", "wandb", "tensorboard")
    run = planted_run(tmp_path, recipe, steps=2)
    trackers = {name: PlantedTracker(name) for name in recipe.logging.trackers}
    trackers["mlflow"].answers.clear()
    trackers["wandb"].error = RuntimeError("refused")
    with follow_run(run, recipe, open_tracker=lambda name, run, **given: trackers[name].open(name, run, **given)):
        append_steps(run, [3])
        deadline = time.monotonic() + 20
        while not any("has not answered" in record.getMessage() for record in caplog.records):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert trackers["tensorboard"].steps() == [1, 2, 3]
    assert trackers["tensorboard"].calls[-1] == ("close", "finished")
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("tracker mlflow has not answered for 0 s; training goes on") for line in lines) == 1
    assert sum(line.startswith("tracker mlflow is given up, since it has not answered for ") for line in lines) == 1
    assert sum(line.startswith("tracker wandb failed and is tried again") for line in lines) == 1
    assert lines[-1].endswith("it may lack steps after 0")
    trackers["mlflow"].answers.set()  # its thread ends


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError(), "failed"), (KeyboardInterrupt(), "killed"), (None, "finished")]
)
def test_trackers_learn_how_training_ended(error: BaseException | None, outcome: Outcome, tmp_path: Path) -> None:
    recipe, tracker = recipe_with("wandb"), PlantedTracker()
    run, raised = planted_run(tmp_path, recipe, steps=1), None
    try:
        with follow_run(run, recipe, open_tracker=tracker.open):
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt) as caught:
        raised = caught
    assert raised is error
    assert tracker.calls[-1] == ("close", outcome)


def test_without_trackers_nothing_is_started(tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> PlantedTracker:
        raise AssertionError("opened")

    with follow_run(planted_run(tmp_path, recipe_with(), steps=1), recipe_with(), open_tracker=refuse):
        pass
    assert not Path(tmp_path, "first", "trackers").exists()

"""Tests what trackers receive after training: the model and the evaluation, into the run that was trained."""

from pathlib import Path

import pytest

from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking import results
from mulan.tracking.identity import TrackedRun, read_identity, write_identity
from mulan.tracking.results import EvaluationResults, send_evaluation, send_model
from mulan.tracking.tracker import PngPicture, Table
from tests.tracking.planted import PNG, PlantedTracker, planted_run, recipe_with


def evaluation(run: Run) -> EvaluationResults:
    uri = filesystem.join(run.uri, "report.html")
    filesystem.write_atomically(uri, b"<p>report")
    table = Table(("set", "value"), [("genre", 0.5)])
    return EvaluationResults(
        {"evaluation/genre/map": 0.5}, {"evaluation/scores": table}, {"evaluation/map": PngPicture(PNG, "a map")}, [uri]
    )


def test_the_model_is_sent_into_the_same_run_and_not_to_tensorboard(storage_uri: str) -> None:
    run = planted_run(storage_uri, recipe_with("tensorboard", "mlflow"))
    filesystem.write_atomically(filesystem.join(run.model_uri, "config.json"), b"{}")
    write_identity(run, "mlflow", TrackedRun("known", 12))
    tracker = PlantedTracker("known")
    send_model(run, 12, open_tracker=tracker.open)
    kept = filesystem.is_local(storage_uri)
    assert tracker.calls == [("artifact", "model", {"config.json": b"{}"}, kept), ("close", None)]
    assert tracker.opened == [{"name": "mlflow", "run": run.uri, "run_id": "known", "next_step": None}]
    assert read_identity(run, "mlflow") == TrackedRun("known", 12)


def test_an_evaluation_is_sent_with_its_report(storage_uri: str) -> None:
    run, tracker = planted_run(storage_uri, recipe_with("wandb")), PlantedTracker()
    send_evaluation(run, 12, evaluation(run), open_tracker=tracker.open)
    assert tracker.calls == [
        ("scores", {"evaluation/genre/map": 0.5}, 12),
        ("table", "evaluation/scores", 12),
        ("picture", "evaluation/map", 12),
        ("artifact", "report", {"report.html": b"<p>report"}, False),
        ("close", None),
    ]
    assert read_identity(run, "wandb") == TrackedRun("planted")


def test_a_report_that_cannot_be_read_ends_no_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, tracker = planted_run(tmp_path, recipe_with("wandb")), PlantedTracker()
    sent = evaluation(run)
    Path(run.uri, "report.html").unlink()
    send_evaluation(run, 12, sent, open_tracker=tracker.open)
    assert caplog.records[-1].getMessage().startswith("tracker wandb did not receive the evaluation: FileNotFoundError")


def test_trackers_that_fail_or_hang_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(results, "TIMEOUT_S", 0.2)
    run = planted_run(tmp_path, recipe_with("mlflow", "wandb", "tensorboard"))
    trackers = {name: PlantedTracker(name) for name in ("mlflow", "wandb", "tensorboard")}
    trackers["mlflow"].answers.clear()
    trackers["wandb"].error = RuntimeError("refused")
    send_evaluation(
        run, 12, evaluation(run), open_tracker=lambda name, run, **given: trackers[name].open(name, run, **given)
    )
    assert trackers["tensorboard"].calls[-1] == ("close", None)
    assert {record.getMessage() for record in caplog.records} == {
        "tracker mlflow is given up, since it did not receive the evaluation within 0 s",
        "tracker wandb did not receive the evaluation: RuntimeError: refused",
    }
    trackers["mlflow"].answers.set()  # its thread ends

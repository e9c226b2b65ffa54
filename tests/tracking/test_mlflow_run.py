"""Tests MLflow with its own server: what the server has afterwards, asked over its REST API."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from mulan.tracking.mlflow_run import MlflowTracker
from mulan.tracking.tracker import PngPicture, StepScalars, Table, TrackerError
from tests.tracking.mlflow_server import mlflow_server
from tests.tracking.planted import PNG, planted_run, recipe_with

# only the server says which requests it accepts, and what of a run it keeps; one serves all tests here
pytestmark = pytest.mark.processes

RECIPE = recipe_with("mlflow")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(autouse=True)
def _configured(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "10" if name == "TIMEOUT" else "0")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def ask(server: str, path: str, **query: str) -> Any:
    """Returns the answer of the server to a request of its REST API."""
    with urllib.request.urlopen(f"{server}/api/2.0/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return json.load(answer)


def history(server: str, run_id: str, name: str) -> list[tuple[int, int, float]]:
    answer = ask(server, "mlflow/metrics/get-history", run_id=run_id, metric_key=name)
    return [(int(each["step"]), int(each["timestamp"]), each["value"]) for each in answer["metrics"]]


def artifact(server: str, run: dict[str, Any], path: str) -> bytes:
    folder = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow-artifacts/artifacts/{folder}/{path}", timeout=30) as answer:
        return bytes(answer.read())


def stored(server: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(server, "mlflow/runs/get", run_id=run_id)["run"]
    return found


def steps(*numbers: int) -> list[StepScalars]:
    return [StepScalars(number, 1_700_000_000.0 + number, {"train/loss": 10 / number}) for number in numbers]


def test_a_run_is_resumed_under_its_id_and_equal_steps_are_kept_once(
    server: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = planted_run(tmp_path, RECIPE)
    first = MlflowTracker(run)
    first.begin(RECIPE)
    assert stored(server, first.run_id)["info"]["status"] == "RUNNING"
    first.event(0, 1.0, "2 workers continue from step 0")
    first.scalars(steps(1, 2))
    first.close("failed")
    assert stored(server, first.run_id)["info"]["status"] == "FAILED"
    longer = RECIPE.replace({"train.steps": 12})
    second = MlflowTracker(run, run_id=first.run_id)
    second.begin(longer)
    second.scalars(steps(2, 3))
    second.close("finished")
    assert second.run_id == first.run_id
    found = stored(server, first.run_id)
    assert (found["info"]["run_name"], found["info"]["status"]) == ("first", "FINISHED")
    assert history(server, first.run_id, "train/loss") == [
        (1, 1_700_000_001_000, 10.0),
        (2, 1_700_000_002_000, 5.0),
        (3, 1_700_000_003_000, 10 / 3),
    ]
    parameters = {each["key"]: each["value"] for each in found["data"]["params"]}
    assert parameters == {key: str(value) for key, value in RECIPE.flat().items()}
    assert artifact(server, found, "recipe.toml").decode() == longer.to_toml()
    tags = {each["key"]: each["value"] for each in found["data"]["tags"]}
    assert (tags["mulan.run"], tags["last_event"]) == (run.uri, "step 0: 2 workers continue from step 0")
    experiment = ask(server, "mlflow/experiments/get", experiment_id=found["info"]["experiment_id"])
    assert experiment["experiment"]["name"] == "mulan"
    assert capfd.readouterr().out == ""


def test_an_evaluation_and_a_model_are_stored_in_the_same_run(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "songs")
    run = planted_run(tmp_path, RECIPE)
    trained = MlflowTracker(run)
    trained.scalars(steps(12))
    trained.close("finished")
    Path(run.model_uri, "tokenizer").mkdir(parents=True)
    Path(run.model_uri, "tokenizer", "vocab.txt").write_text("low\nhigh\n")
    tracker = MlflowTracker(run, run_id=trained.run_id)
    for value in (0.4, 0.5):  # evaluated again
        tracker.scores({"evaluation/zero_shot/日本/map": value}, 12)
        rows = [("drum, bass", value), ("mood", None)]
        tracker.table("evaluation/scores", Table(("set", "value"), rows), 12)
    tracker.picture("evaluation/map", PngPicture(PNG, "a map"), 12)
    tracker.artifact("model", Path(run.model_uri), kept=True)
    tracker.close(None)
    found = stored(server, trained.run_id)
    assert found["info"]["status"] == "FINISHED"
    latest = {each["key"]: each["value"] for each in found["data"]["metrics"]}
    assert latest == {"train/loss": 10 / 12, "evaluation/zero_shot/日本/map": 0.5}
    assert artifact(server, found, "evaluation/scores.csv") == b'set,value\n"drum, bass",0.5\nmood,\n'
    assert artifact(server, found, "evaluation/map.png") == PNG
    assert artifact(server, found, "model/tokenizer/vocab.txt") == b"low\nhigh\n"


def test_more_metrics_than_a_request_may_have(server: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(planted_run(tmp_path, RECIPE))
    values = {f"train/loss_{number}": float(number) for number in range(7)}
    tracker.scalars([StepScalars(step, 1_700_000_000.0 + step, values) for step in range(1, 301)])
    assert [step for step, *_ in history(server, tracker.run_id, "train/loss_6")] == list(range(1, 301))


def test_a_run_that_the_server_does_not_have_is_created_anew(tmp_path: Path) -> None:
    unknown = "0" * 32
    tracker = MlflowTracker(planted_run(tmp_path, RECIPE), run_id=unknown)
    assert tracker.run_id != unknown


def test_a_server_that_does_not_answer_is_an_error_and_no_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(MlflowException):
        MlflowTracker(planted_run(tmp_path, RECIPE), run_id="0" * 32)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(TrackerError, match="MLFLOW_TRACKING_URI is not set"):
        MlflowTracker(planted_run(tmp_path, RECIPE))

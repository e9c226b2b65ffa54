"""Tests W&B's offline files: what its library wrote, read record by record."""

import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from mulan.runs.run import Run
from mulan.tracking.tracker import PngPicture, StepScalars, Table
from mulan.tracking.wandb_run import WandbTracker
from tests.tracking.planted import PNG, planted_run, recipe_with

# W&B's library writes its files in a process of its own, which it starts for the first run of a test process
pytestmark = pytest.mark.processes

RECIPE = recipe_with("wandb")
_BLOCK, _HEADER = 32768, struct.Struct("<IHB")


@pytest.fixture(autouse=True)
def _without_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-settings"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))


def records(folder: str | Path) -> list[Record]:
    """Returns the records of the runs in a folder of W&B, in the order of their beginning.

    The library's process writes the last ones, of which each run has one of its exit, after the run is finished.
    """
    deadline = time.monotonic() + 60
    while True:
        files = sorted(Path(folder, "wandb").glob("offline-run-*/run-*.wandb"))
        found = [record for file in files for record in _records_of(file)]
        if sum(record.HasField("exit") for record in found) == len(files) > 0:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def _records_of(file: Path) -> Iterator[Record]:
    """Yields the complete records of a file, a log of LevelDB after a header of seven bytes."""
    content, position, whole = file.read_bytes(), 7, b""
    while position + _HEADER.size <= len(content):
        if _BLOCK - position % _BLOCK < _HEADER.size:
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = _HEADER.unpack_from(content, position)
        position += _HEADER.size + length
        if position > len(content):  # being written
            return
        whole += content[position - length : position]
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def history(folder: str | Path) -> list[dict[str, Any]]:
    """Returns the rows of the runs in a folder."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(folder)
        if record.HasField("history")
    ]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns what the tracker said, without the library's own records."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("mulan.")]


def steps(*numbers: int) -> list[StepScalars]:
    return [StepScalars(number, 1_700_000_000.0 + number, {"train/loss": 10 / number}) for number in numbers]


def losses(run: Run) -> list[tuple[int, float, float]]:
    rows = [row for row in history(run.uri) if "train/loss" in row]
    return [(row["_step"], row["_timestamp"], row["train/loss"]) for row in rows]


def test_a_run_without_an_api_key_is_offline_in_its_folder_and_resumes_under_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "songs")
    run = planted_run(tmp_path, RECIPE)
    first = WandbTracker(run)
    first.begin(RECIPE)
    first.event(0, 1.0, "2 workers continue from step 0")
    first.scalars(steps(1, 2))
    first.close("failed")
    second = WandbTracker(run, run_id=first.run_id)
    second.begin(RECIPE)
    second.scalars(steps(3))
    second.close("finished")
    assert second.run_id == first.run_id
    assert losses(run) == [(1, 1_700_000_001.0, 10.0), (2, 1_700_000_002.0, 5.0), (3, 1_700_000_003.0, 10 / 3)]
    begun = [record.run for record in records(run.uri) if record.HasField("run")]
    assert {(each.run_id, each.project, each.display_name) for each in begun} == {(first.run_id, "songs", "first")}
    stored = {item.key: json.loads(item.value_json) for item in begun[0].config.update} | {
        item.key: json.loads(item.value_json)
        for record in records(run.uri)
        if record.HasField("config")
        for item in record.config.update
    }
    assert stored["train.steps"] == RECIPE.train.steps and stored["logging.trackers"] == ["wandb"]
    summary = [item for record in records(run.uri) if record.HasField("summary") for item in record.summary.update]
    assert '"step 0: 2 workers continue from step 0"' in [
        item.value_json for item in summary if "last_event" in (item.key, *item.nested_key)
    ]
    exits = [record.exit.exit_code for record in records(run.uri) if record.HasField("exit")]
    assert exits == [1, 0]
    assert said(caplog)[0].startswith(f"W&B is offline: the run is in {run.uri}/wandb/offline-run-")
    assert capfd.readouterr() == ("", "")  # no prompt, and nothing of the library


def test_an_evaluation_and_a_model_are_stored_in_the_same_run(tmp_path: Path) -> None:
    run = planted_run(tmp_path, RECIPE)
    trained = WandbTracker(run)
    trained.scalars(steps(12))
    trained.close("finished")
    Path(run.model_uri, "tokenizer").mkdir(parents=True)
    Path(run.model_uri, "tokenizer", "vocab.txt").write_text("low\nhigh\n")
    tracker = WandbTracker(run, run_id=trained.run_id)
    tracker.scores({"evaluation/genre/map": 0.5}, 12)
    tracker.table("evaluation/scores", Table(("set", "value"), [("genre", 0.5), ("mood", None)]), 12)
    tracker.picture("evaluation/map", PngPicture(PNG, "a map"), 12)
    tracker.artifact("model", Path(run.model_uri), kept=True)
    tracker.close(None)
    (row,) = [row for row in history(run.uri) if "evaluation/genre/map" in row]
    assert (row["_step"], row["evaluation/genre/map"]) == (12, 0.5)
    assert row["evaluation/map/caption"] == "a map"
    (table,) = Path(run.uri).glob("wandb/offline-run-*/files/media/table/evaluation/scores*.json")
    assert json.loads(table.read_text())["data"] == [["genre", 0.5], ["mood", None]]
    (model,) = [record.artifact for record in records(run.uri) if record.artifact.type == "model"]
    assert model.name == f"model-{trained.run_id}" and model.run_id == trained.run_id
    (entry,) = model.manifest.contents
    assert entry.path == "tokenizer/vocab.txt"
    assert entry.local_path == str(Path(run.model_uri, "tokenizer", "vocab.txt")), "no copy"


def test_files_that_do_not_remain_are_copied_for_the_upload(tmp_path: Path) -> None:
    run = planted_run(tmp_path, RECIPE)
    folder = tmp_path / "temporary"
    folder.mkdir()
    (folder / "report.html").write_text("<p>report")
    tracker = WandbTracker(run)
    tracker.artifact("report", folder, kept=False)
    tracker.close(None)
    (report,) = [record.artifact for record in records(run.uri) if record.artifact.type == "report"]
    copy = Path(report.manifest.contents[0].local_path)
    assert copy.is_relative_to(tmp_path / "data") and copy.read_text() == "<p>report"


def test_a_run_in_an_object_store_has_its_files_in_a_folder_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = planted_run(f"memory://{tmp_path.name}", RECIPE)
    tracker = WandbTracker(run)
    tracker.begin(RECIPE)
    tracker.scalars(steps(1))
    tracker.close("finished")
    (folder,) = tmp_path.glob("mulan-wandb-*")
    assert len(history(folder)) == 1
    assert f"the run is in {folder}/wandb/offline-run-" in said(caplog)[0]


def test_the_variables_of_the_library_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    run = planted_run(tmp_path / "runs", RECIPE)
    tracker = WandbTracker(run)
    tracker.scalars(steps(1))
    tracker.close("finished")
    assert len(history(tmp_path / "elsewhere")) == 1 and not Path(run.uri, "wandb").exists()

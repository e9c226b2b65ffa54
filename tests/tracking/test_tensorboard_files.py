"""Tests TensorBoard's event files: what TensorBoard itself reads from them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking import tensorboard_files
from mulan.tracking.tensorboard_files import TensorBoardTracker, event_files_uri
from mulan.tracking.tracker import PngPicture, StepScalars, Table
from tests.tracking.planted import PNG, planted_run, recipe_with

RECIPE = recipe_with("tensorboard")
Reader = Callable[[Run], EventAccumulator]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Returns a function that reads a run like TensorBoard does, from a copy of its folder."""

    def reader(run: Run) -> EventAccumulator:
        folder = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        fs, path = fsspec.core.url_to_fs(event_files_uri(run))
        fs.get(path, str(folder), recursive=True)
        return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0}).Reload()

    return reader


def steps(*numbers: int) -> list[StepScalars]:
    return [StepScalars(number, 1_700_000_000.0 + number, {"train/loss": 10 / number}) for number in numbers]


def scalars(found: EventAccumulator, name: str = "train/loss") -> list[tuple[int, float, float]]:
    return [(each.step, each.wall_time, each.value) for each in found.Scalars(name)]


def test_scalars_are_in_the_folder_as_soon_as_they_are_sent(storage_uri: str, read: Reader) -> None:
    run = planted_run(storage_uri, RECIPE)
    tracker = TensorBoardTracker(run, next_step=1)
    tracker.begin(RECIPE)
    tracker.scalars(steps(1, 2))
    expected = [(1, 1_700_000_001.0, 10.0), (2, 1_700_000_002.0, 5.0)]
    assert scalars(read(run)) == expected
    tracker.scalars(steps(4))
    tracker.close("finished")
    assert scalars(read(run)) == [*expected, (4, 1_700_000_004.0, 2.5)]


def test_a_resumed_run_continues_and_hides_steps_that_are_sent_again(storage_uri: str, read: Reader) -> None:
    run = planted_run(storage_uri, RECIPE)
    first = TensorBoardTracker(run, next_step=1)
    first.scalars(steps(1, 2, 3, 4))  # killed before it could note steps 3 and 4
    second = TensorBoardTracker(run, next_step=3)
    second.scalars(steps(3, 4, 5))
    second.close("finished")
    assert [step for step, *_ in scalars(read(run))] == [1, 2, 3, 4, 5]


def test_the_recipe_tables_pictures_scores_and_events(storage_uri: str, read: Reader) -> None:
    run = planted_run(storage_uri, RECIPE)
    tracker = TensorBoardTracker(run, next_step=1)
    tracker.begin(RECIPE)
    tracker.event(3, 1_700_000_003.0, "2 workers continue from step 0")
    tracker.scores({"evaluation/genre/map": 0.5}, 12)
    tracker.table("evaluation/scores", Table(("set", "value"), [("a|b\nc", 0.123456789), ("none", None)]), 12)
    tracker.picture("evaluation/map", PngPicture(PNG, "a map"), 12)
    tracker.close(None)
    found = read(run)
    texts = {
        tag.removesuffix("/text_summary"): found.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in found.Tags()["tensors"]
    }
    assert "    [logging]\n" in texts["recipe"]
    assert texts["events"] == "    2 workers continue from step 0"
    assert texts["evaluation/scores"] == ("| set | value |\n| --- | --- |\n| a\\|b c | 0.123457 |\n| none |  |")
    assert [(step, value) for step, _, value in scalars(found, "evaluation/genre/map")] == [(12, 0.5)]
    (image,) = found.Images("evaluation/map")
    assert (image.step, image.width, image.height) == (12, 1, 1)


def test_an_evaluation_after_training_hides_nothing(storage_uri: str, read: Reader) -> None:
    run = planted_run(storage_uri, RECIPE)
    trained = TensorBoardTracker(run, next_step=1)
    trained.scalars(steps(1, 2))
    trained.close("finished")
    evaluated = TensorBoardTracker(run)
    evaluated.scores({"evaluation/genre/map": 0.5}, 1)
    evaluated.close(None)
    assert len(scalars(read(run))) == 2


def test_in_an_object_store_a_large_event_file_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Reader
) -> None:
    monkeypatch.setattr(tensorboard_files, "_MAX_FILE_BYTES", 2000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "local"))
    (tmp_path / "local").mkdir()
    run = planted_run(f"memory://{tmp_path.name}", RECIPE)
    tracker = TensorBoardTracker(run, next_step=1)
    for number in range(1, 201):
        tracker.scalars(steps(number))
    (local,) = (tmp_path / "local").iterdir()
    assert len(list(local.iterdir())) == 1
    tracker.close("finished")
    assert list((tmp_path / "local").iterdir()) == []
    names = filesystem.names_in(event_files_uri(run))
    assert len(names) > 3
    assert all(filesystem.size(f"{event_files_uri(run)}/{name}") < 2200 for name in names)
    assert [step for step, *_ in scalars(read(run))] == list(range(1, 201))

"""Tests the thread that sends a run's steps to a tracker: each once, over failures, restarts and truncated logs."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mulan.runs.lease import hold_lease
from mulan.runs.lease_files import Holder, ProcessIdentity, file_uri
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog
from mulan.tracking import feed
from mulan.tracking.feed import TrackerFeed
from mulan.tracking.identity import TrackedRun, read_identity
from tests.tracking.planted import PlantedTracker, append_steps, planted_run, recipe_with

RECIPE = recipe_with("wandb")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PERIOD_S", "_REMOTE_PERIOD_S", "RETRY_PERIOD_S"):
        monkeypatch.setattr(feed, name, 0.01)


@contextmanager
def feeding(run: Run, tracker: PlantedTracker) -> Iterator[TrackerFeed]:
    one = TrackerFeed("wandb", run, RECIPE, None, open_tracker=tracker.open)
    one.start()
    try:
        yield one
    finally:
        one.stop("finished")
        assert one.join(20)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_steps_are_sent_in_order_and_the_tracker_is_closed(storage_uri: str) -> None:
    run, tracker = planted_run(storage_uri, RECIPE, steps=3), PlantedTracker()
    with feeding(run, tracker):
        wait_for(lambda: tracker.steps() == [1, 2, 3])
        append_steps(run, [4, 5])
    assert tracker.steps() == [1, 2, 3, 4, 5]
    assert tracker.calls[0] == ("begin", ("wandb",)) and tracker.calls[-1] == ("close", "finished")
    assert tracker.opened == [{"name": "wandb", "run": run.uri, "run_id": None, "next_step": 1}]
    assert read_identity(run, "wandb") == TrackedRun("planted", 5)


def test_many_steps_are_sent_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_STEPS_AT_ONCE", 2)
    run, tracker = planted_run(tmp_path, RECIPE, steps=5), PlantedTracker()
    with feeding(run, tracker):
        pass
    assert [call[1] for call in tracker.calls if call[0] == "scalars"] == [[1, 2], [3, 4], [5]]


def test_a_run_without_new_steps_opens_no_tracker(tmp_path: Path) -> None:
    run, tracker = planted_run(tmp_path, RECIPE), PlantedTracker()
    with feeding(run, tracker):
        pass
    assert (tracker.opened, tracker.calls) == ([], [])
    assert not Path(run.uri, "trackers").exists()


def test_another_process_continues_the_same_run_after_the_last_step(storage_uri: str) -> None:
    run = planted_run(storage_uri, RECIPE, steps=3)
    first, second = PlantedTracker(), PlantedTracker()
    with feeding(run, first):
        pass
    append_steps(run, [4])
    with feeding(run, second):
        pass
    assert second.steps() == [4]
    assert [(each["run_id"], each["next_step"]) for each in second.opened] == [("planted", 4)]


def test_steps_repeated_after_a_restart_are_not_sent_again(storage_uri: str) -> None:
    run, tracker = planted_run(storage_uri, RECIPE, steps=5), PlantedTracker()
    with feeding(run, tracker):
        wait_for(lambda: tracker.steps() == [1, 2, 3, 4, 5])
        append_steps(run, [3], keep_steps=2)  # the log is truncated to the checkpoint
        wait_for(lambda: len(run.metrics()) == 3)
        time.sleep(0.1)
        append_steps(run, [4, 5, 6, 7])
    assert tracker.steps() == [1, 2, 3, 4, 5, 6, 7]


def test_steps_that_may_be_lost_with_the_process_are_sent_again_by_the_next_one(tmp_path: Path) -> None:
    run, tracker = planted_run(tmp_path, RECIPE, steps=3), PlantedTracker()
    tracker.stored_after_s = 1000
    with feeding(run, tracker):
        wait_for(lambda: tracker.steps() == [1, 2, 3])
        assert read_identity(run, "wandb") == TrackedRun("planted", 0)  # so a killed process leaves it
        append_steps(run, [4])
    assert tracker.steps() == [1, 2, 3, 4]
    assert read_identity(run, "wandb") == TrackedRun("planted", 4)


def test_a_tracker_that_no_longer_has_the_run_receives_all_steps(tmp_path: Path) -> None:
    run = planted_run(tmp_path, RECIPE, steps=2)
    with feeding(run, PlantedTracker("deleted")):
        pass
    append_steps(run, [3])
    tracker = PlantedTracker("new")
    with feeding(run, tracker):
        pass
    assert tracker.steps() == [1, 2, 3]
    assert read_identity(run, "wandb") == TrackedRun("new", 3)


def test_a_tracker_that_fails_is_tried_again_and_misses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, tracker = planted_run(tmp_path, RECIPE, steps=2), PlantedTracker()
    tracker.error = ConnectionError("http://user:secret@server is down\nmore")
    with feeding(run, tracker):
        wait_for(lambda: len(tracker.opened) > 3)
        append_steps(run, [3])
        tracker.error = None
        wait_for(lambda: tracker.steps() == [1, 2, 3])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2  # however often it failed
    assert messages[0].startswith("tracker wandb failed and is tried again every 0 s; training goes on: ")
    assert messages[0].endswith("ConnectionError: http://***@server is down")
    assert messages[1] == "tracker wandb works again"


def test_a_tracker_that_fails_to_the_end_is_reported_with_its_last_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, tracker = planted_run(tmp_path, RECIPE, steps=2), PlantedTracker()
    with feeding(run, tracker):
        wait_for(lambda: tracker.steps() == [1, 2])
        tracker.error = RuntimeError("")
        append_steps(run, [3])
    assert caplog.records[-1].getMessage() == "tracker wandb has no steps after 2: RuntimeError: no message"


def test_events_of_this_attempt_are_sent(tmp_path: Path) -> None:
    run, tracker = planted_run(tmp_path, RECIPE), PlantedTracker()
    events = JsonLinesLog(run.events_uri)
    events.append([{"time": 1.0, "step": 0, "event": "of an earlier attempt"}])
    with feeding(run, tracker):
        events.append([{"time": 2.0, "step": 0, "event": "2 workers continue from s3://KEY:SECRET@bucket"}])
        append_steps(run, [1])
        wait_for(lambda: tracker.steps() == [1])
        JsonLinesLog(run.failures_uri).append([{"time": 3.0, "event": "a worker was lost"}])
    sent = [call[1:] for call in tracker.calls if call[0] == "event"]
    assert sent == [(0, "2 workers continue from s3://***@bucket"), (1, "a worker was lost")]


def test_odd_lines_hide_neither_events_nor_steps(tmp_path: Path) -> None:
    run, tracker = planted_run(tmp_path, RECIPE), PlantedTracker()
    with feeding(run, tracker):
        with open(run.events_uri, "a") as file:
            file.write('{\n[1]\n{"time": "x", "step": "y", "event": 3}\n')
        with open(run.metrics_uri, "a") as file:
            file.write('{\n3\n{"step": 1%s}\n{"step": 1, "loss": 1.0}\n' % ("0" * 400))
        wait_for(lambda: tracker.steps() == [1])
    assert [call[2] for call in tracker.calls if call[0] == "event"] == ["3"]


def test_a_driver_that_lost_its_lease_writes_and_closes_nothing(tmp_path: Path) -> None:
    run, tracker = planted_run(tmp_path, RECIPE, steps=1), PlantedTracker()
    with hold_lease(run.uri) as fence:
        one = TrackerFeed("wandb", run, RECIPE, fence, open_tracker=tracker.open)
        one.start()
        wait_for(lambda: tracker.steps() == [1])
        other = Holder(replace(ProcessIdentity.current(), host="node-7"))
        filesystem.write_atomically(file_uri(f"{run.uri}/lease", fence.generation + 1), other.content())
        append_steps(run, [2])
        assert one.join(20)
        assert one.busy_s() == 0
    assert json.loads(Path(run.uri, "trackers", "wandb.json").read_text())["step"] == 1
    assert all(call[0] != "close" for call in tracker.calls)

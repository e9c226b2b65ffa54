"""Tests when the page of a run that goes on is written, and that it never disturbs training or an evaluation."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulan.config.errors import MulanError
from mulan.monitoring import live_report as module
from mulan.monitoring.live_report import LivePage, live_report
from mulan.runs.lease import Fence, hold_lease
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from tests.monitoring.planted import append, lease, metrics_line, planted
from tests.waiting import wait_until


@contextmanager
def training(storage_uri: str) -> Iterator[tuple[Run, Fence]]:
    run = planted(storage_uri, "run", steps=7)
    with hold_lease(run.uri) as fence:
        append(run.events_uri, [{"time": time.time(), "event": "2 workers continue from step 0"}])
        yield run, fence


def page_of(run: Run) -> str:
    return filesystem.read_bytes(f"{run.uri}/report.html").decode()


def has_page(run: Run) -> bool:
    return filesystem.exists(f"{run.uri}/report.html")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "finished"),
        (RunStopped("stopped at step 7: requested by me"), "stopped"),
        (MulanError("the loss is nan"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_the_page_exists_during_training_and_says_how_it_ended(
    storage_uri: str, error: BaseException | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mulan.monitoring.live_report.END_TIMEOUT_S", 300.0)  # on a busy machine
    with training(storage_uri) as (run, fence):
        try:
            with live_report(run, fence):
                wait_until(lambda: has_page(run), what="the first page")
                assert "<title>run: running</title>" in page_of(run) and 'http-equiv="refresh"' in page_of(run)
                append(run.metrics_uri, [metrics_line(8)])
                if error is not None:
                    raise error
        except BaseException as raised:
            if raised is not error:
                raise
        page = page_of(run)
        assert f"<title>run: {state}</title>" in page and 'http-equiv="refresh"' not in page
        assert "8 of 20" in page and "2 workers continue from step 0" in page
        assert str(error or "") in page
        assert ("jobs.evaluate" in page) is (state == "finished")


def test_it_is_written_again_only_if_something_has_changed(tmp_path: Path) -> None:
    with training(str(tmp_path)) as (run, _):
        page, file = LivePage(run), Path(run.uri, "report.html")
        times = []
        for step in (None, None, 8, None):
            if step is not None:
                append(run.metrics_uri, [metrics_line(step)])
            page.write()
            times.append(file.stat().st_mtime_ns)
        assert times[0] == times[1] < times[2] == times[3]


def test_the_page_of_an_evaluation_is_left_alone(storage_uri: str) -> None:
    with training(storage_uri) as (run, fence):
        for name in ("report.html", "report.json"):
            filesystem.write_atomically(f"{run.uri}/{name}", b"of an evaluation")
        with live_report(run, fence):
            append(run.metrics_uri, [metrics_line(8)])
        assert page_of(run) == "of an evaluation"


def test_an_evaluation_meanwhile_keeps_its_page(tmp_path: Path) -> None:
    with training(str(tmp_path)) as (run, _):
        page = LivePage(run)
        page.write()
        for name in ("report.json", "report.html"):
            filesystem.write_atomically(f"{run.uri}/{name}", b"of an evaluation")
        append(run.metrics_uri, [metrics_line(8)])
        page.write()
        assert page_of(run) == "of an evaluation"


def test_a_run_that_was_taken_over_is_left_alone(tmp_path: Path) -> None:
    with training(str(tmp_path)) as (run, fence):
        lease(run, 2)
        with live_report(run, fence):
            pass
        assert not has_page(run)


def test_storage_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(uri: str, content: bytes) -> None:
        raise StorageError("no space")

    with training(str(tmp_path)) as (run, fence):
        monkeypatch.setattr(filesystem, "write_atomically", failing)
        with live_report(run, fence):
            pass
        monkeypatch.undo()
        assert not has_page(run)


def test_storage_that_hangs_delays_the_end_only_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, ended = threading.Event(), []

    def hanging(self: LivePage, outcome: object = None) -> None:
        answered.wait()
        ended.append(outcome)

    with training(str(tmp_path)) as (run, fence):
        monkeypatch.setattr(LivePage, "write", hanging)
        monkeypatch.setattr(module, "END_TIMEOUT_S", 0.05)
        with live_report(run, fence):
            pass
        assert ended == []  # the block has ended before the storage answered
        answered.set()


def test_texts_are_escaped(tmp_path: Path) -> None:
    with training(str(tmp_path)) as (run, _):
        append(run.failures_uri, [{"time": 1e300, "event": "<script>alert(1)</script>"}])
        LivePage(run).write()
        page = page_of(run)
        assert "<script>" not in page and "&lt;script&gt;alert(1)" in page
        assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []  # fetches nothing
        assert os.listdir(run.uri).count("report.html") == 1

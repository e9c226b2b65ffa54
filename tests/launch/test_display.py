"""Tests the progress lines of a run."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from jobs.arguments import CONSOLE
from mulan.config.recipe import Recipe
from mulan.instrumentation.hang_reports import HangReports
from mulan.launch.display import RunEvents, show_progress, status_line
from mulan.launch.heartbeat import Heartbeat
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage.jsonl import JsonLinesLog


def recipe() -> Recipe:
    return load_recipe("demo_miniature", ["train.steps=400"])  # 16 pairs a step


def line(
    step: int, *, step_s: float = 2.0, wait_s: float = 0.5, skipped: dict[str, int] | None = None
) -> dict[str, Any]:
    return {
        "step": step,
        "loss": 3.0 + step / 1000,
        "temperature": 0.09876,
        "step_s": step_s,
        "data_wait_s": wait_s,
        "skipped_recordings": skipped or {},
    }


def test_the_line_before_the_first_step() -> None:
    assert status_line([], recipe(), seconds=12.4) == "train  starting workers (12 s)"


def test_the_line_shows_the_progress_of_the_run() -> None:
    status = status_line([line(number) for number in range(1, 51)], recipe(), seconds=100)
    assert status.split("  ") == [
        "train",
        "step 50/400",
        "loss 3.050",
        "temperature 0.0988",
        "8.0 pairs/s",
        "waiting for data 25%",
        "11:40 left",
    ]


def test_the_line_shows_the_utilization_of_known_devices() -> None:
    status = status_line([line(1) | {"mfu": 0.384}], recipe(), seconds=10)
    assert "8.0 pairs/s  MFU 38%  waiting for data 25%" in status


def test_a_loss_that_is_not_finite_is_shown_in_words() -> None:
    status = status_line([line(1), line(2) | {"loss": None, "temperature": None}], recipe(), seconds=100)
    assert "step 2/400  loss not finite  temperature not finite  8.0 pairs/s" in status


def test_the_speed_is_averaged_over_the_newest_twenty_steps() -> None:
    slow = [line(number, step_s=100.0, wait_s=100.0) for number in range(1, 100)]
    fast = [line(number, step_s=1.0, wait_s=0.0) for number in range(100, 120)]
    status = status_line(slow + fast, recipe(), seconds=100)
    assert "16.0 pairs/s  waiting for data 0%  4:41 left" in status


def test_the_newest_validation_and_skipped_recordings_are_shown() -> None:
    metrics = [line(step) | {"validation": {"recall10": recall}} for step, recall in ((1, 0.1), (2, 0.25))]
    assert status_line(metrics, recipe(), seconds=1).endswith("left  recall@10 0.250")
    metrics.append(line(3, skipped={"silent": 5, "no samples": 2}))
    assert status_line(metrics, recipe(), seconds=1).endswith(
        "recall@10 0.250  7 recordings skipped (silent 5, no samples 2)"
    )


def test_without_a_terminal_a_plain_line_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.at(str(tmp_path), "demo")
    with show_progress(run, recipe(), CONSOLE):
        JsonLinesLog(run.metrics_uri, keep_steps=0).append([line(1), line(2)])
    assert capsys.readouterr().out == status_line([line(1), line(2)], recipe(), seconds=0) + "\n"


def test_events_are_printed_verbatim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.at(str(tmp_path), "demo")
    with show_progress(run, recipe(), CONSOLE):
        JsonLinesLog(run.failures_uri).append([{"event": "worker 1: [/gloo/transport/tcp/pair.cc:547] [bold]closed"}])
    assert "train  worker 1: [/gloo/transport/tcp/pair.cc:547] [bold]closed\n" in capsys.readouterr().out


def test_the_details_of_an_event_follow_it(tmp_path: Path) -> None:
    run, heartbeat = Run(str(tmp_path), "run"), create_autospec(Heartbeat)
    events, log = RunEvents(run, heartbeat), JsonLinesLog(run.events_uri)
    log.append([{"event": "profile", "detail": "worker  s a step\n0          0.400"}, {"event": "next"}])
    assert events.new_lines() == ["train  profile", "worker  s a step", "0          0.400", "train  next"]


def test_odd_lines_hide_no_events(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "run")
    events = RunEvents(run, create_autospec(Heartbeat))
    JsonLinesLog(run.events_uri).append([{"time": "x"}, {"time": 2.0, "event": "next", "detail": 3}])
    with open(run.events_uri, "a") as file:
        file.write("{\n[1]\n")
    assert events.new_lines() == ["train  ", "train  next", "3"]


def test_hanging_steps_follow_the_events(tmp_path: Path) -> None:
    run, hangs = Run(str(tmp_path), "run"), create_autospec(HangReports)
    hangs.new_lines.return_value = ["a step hangs"]
    events = RunEvents(run, create_autospec(Heartbeat), hangs)
    JsonLinesLog(run.events_uri).append([{"event": "first"}])
    assert events.new_lines() == ["train  first", "train  a step hangs"]


def test_workers_are_waited_for_from_a_failure_until_the_next_event_of_a_worker(tmp_path: Path) -> None:
    run = Run.at(str(tmp_path), "demo")
    failures, events = JsonLinesLog(run.failures_uri), JsonLinesLog(run.events_uri)
    failures.append([{"time": 1.0, "event": "of an earlier call"}])
    states: list[str] = []
    heartbeat = create_autospec(Heartbeat, instance=True)
    heartbeat.on_workers_lost.side_effect, heartbeat.on_workers_started.side_effect = (
        partial(states.append, "lost"),
        partial(states.append, "work"),
    )
    run_events = RunEvents(run, heartbeat)
    assert (run_events.new_lines(), states) == ([], [])
    events.append([{"time": 2.0, "event": "1 workers continue"}])
    assert (run_events.new_lines(), states) == (["train  1 workers continue"], ["work"])
    events.append([{"time": 3.0, "event": "nodes about to be preempted"}])
    failures.append([{"time": 4.0, "event": "worker 0: gone"}])
    assert run_events.new_lines() == ["train  nodes about to be preempted", "train  worker 0: gone"]
    assert states == ["work", "lost"]
    failures.append([{"time": 5.0, "event": "worker 1: gone"}])
    events.append([{"time": 6.0, "event": "1 workers continue"}])
    assert len(run_events.new_lines()) == 2
    assert states == ["work", "lost", "work"]

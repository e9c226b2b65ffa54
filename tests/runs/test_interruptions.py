"""Tests the time lost to failures on the records of runs that are written out here, second by second."""

from pathlib import Path
from typing import Any

import pytest

from mulan.runs.interruptions import Interruptions
from mulan.runs.run import Run
from mulan.storage import filesystem, jsonl
from mulan.storage.jsonl import JsonLinesLog


def run_with(
    tmp_path: Path,
    *,
    steps: dict[int, float],
    failures: list[float],
    started: dict[float, int],
    lost: dict[float, float] | None = None,
) -> Run:
    """Writes the records of a run: the ends of steps, failures, starts by time, and reported losses by time."""
    run = Run(str(tmp_path), "run")
    JsonLinesLog(run.metrics_uri).append({"step": step, "time": end} for step, end in steps.items())
    JsonLinesLog(run.failures_uri).append({"time": when, "event": "worker 1 died"} for when in failures)
    events: list[dict[str, Any]] = [
        *({"time": when, "event": "workers continue", "from_step": step} for when, step in started.items()),
        *({"time": when, "event": "lost", "lost_s": seconds} for when, seconds in (lost or {}).items()),
    ]
    JsonLinesLog(run.events_uri).append(sorted(events, key=lambda event: float(event["time"])))
    return run


def test_a_run_without_failures_has_lost_nothing_even_if_it_paused_for_a_week(tmp_path: Path) -> None:
    week = 604_800.0
    run = run_with(tmp_path, steps={1: 10, 2: 20}, failures=[], started={0: 0, week: 2})
    resumed = Interruptions.of(run, 2, driver_began=week - 5)
    assert (resumed.restarts, resumed.lost_s, resumed.newly_lost_s(week + 5)) == (0, 0, 0)


def test_repeated_steps_and_the_restart_are_lost(tmp_path: Path) -> None:
    """A checkpoint of step 2; step 3 ended at 30, the failure came at 36, and step 3 begins again at 50."""
    run = run_with(tmp_path, steps={1: 10, 2: 20}, failures=[36], started={0: 0, 48: 2})
    interrupted = Interruptions.of(run, 2, driver_began=-5)
    assert (interrupted.restarts, interrupted.newly_lost_s(50)) == (1, 30)


def test_a_second_failure_without_progress_adds_only_what_was_not_reported(tmp_path: Path) -> None:
    run = run_with(tmp_path, steps={2: 20}, failures=[36, 60], started={0: 0, 48: 2, 70: 2}, lost={51: 30})
    interrupted = Interruptions.of(run, 2, driver_began=-5)
    assert (interrupted.restarts, interrupted.lost_s) == (2, 30)
    assert interrupted.newly_lost_s(75) == 75 - 20 - 30


def test_losses_before_the_last_progress_remain_and_are_not_subtracted(tmp_path: Path) -> None:
    steps = {2: 20, 3: 60, 4: 70}
    run = run_with(tmp_path, steps=steps, failures=[36, 75], started={0: 0, 48: 2, 80: 4}, lost={51: 30})
    interrupted = Interruptions.of(run, 4, driver_began=-5)
    assert (interrupted.lost_s, interrupted.newly_lost_s(85)) == (30, 15)


def test_the_time_without_a_driver_is_not_lost(tmp_path: Path) -> None:
    """The run gave up at 40, and was started again at 1000."""
    run = run_with(tmp_path, steps={2: 20}, failures=[40], started={0: 0, 1010: 2})
    interrupted = Interruptions.of(run, 2, driver_began=1000)
    assert interrupted.newly_lost_s(1015) == (40 - 20) + (1015 - 1000)


def test_before_the_first_checkpoint_the_time_counts_from_the_first_attempt(tmp_path: Path) -> None:
    run = run_with(tmp_path, steps={}, failures=[30], started={-900: 0, 5: 0, 40: 0})
    interrupted = Interruptions.of(run, 0, driver_began=1)
    assert interrupted.newly_lost_s(42) == 42 - 5


def test_the_step_is_found_in_the_newest_parts_of_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store; older parts, of which a long run has many, are not read again at every restart."""
    monkeypatch.setattr(jsonl, "PART_BYTES", 50)
    run = Run(f"memory://{tmp_path.name}", "run")
    metrics = JsonLinesLog(run.metrics_uri)
    metrics.append({"step": step, "time": 10.0 * step} for step in range(1, 9))
    metrics.flush()
    first, *_, last = jsonl.part_uris(run.metrics_uri)
    assert last != first
    failures = JsonLinesLog(run.failures_uri)
    failures.append([{"time": 85.0, "event": "worker 1 died"}])
    failures.flush()
    filesystem.write_atomically(first, b"damaged\n")
    for step in (5, 8):
        assert Interruptions.of(run, step, driver_began=-1).newly_lost_s(100) == 100 - 10 * step


@pytest.mark.parametrize("line", [{"step": 2}, {"step": 1, "time": 10.0}])
def test_nothing_is_claimed_if_the_end_of_the_step_is_unknown(tmp_path: Path, line: dict[str, Any]) -> None:
    run = run_with(tmp_path, steps={}, failures=[30], started={0: 0})
    JsonLinesLog(run.metrics_uri).append([line])
    assert Interruptions.of(run, 2, driver_began=-1).newly_lost_s(42) == 0

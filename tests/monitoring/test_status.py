"""Tests where runs stand by their folders, which are planted in every state."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from mulan.monitoring.status import RunState, run_status
from mulan.runs.lease import hold_lease
from mulan.runs.lease_files import newest
from mulan.runs.run import Run
from mulan.runs.stop import request_stop
from mulan.storage import filesystem
from tests.monitoring.planted import STEPS, append, lease, planted

NOW = time.time()


def event(run: Run, when: float, text: str = "2 workers continue from step 0") -> None:
    append(run.events_uri, [{"time": when, "step": 0, "event": text}])


def failure(run: Run, when: float) -> None:
    append(run.failures_uri, [{"time": when, "event": "worker 1: \x1b[31mgone\n"}])


def ask(run: Run) -> None:
    seen = newest(f"{run.uri}/lease")
    assert seen is not None
    request_stop(run.uri, seen)


def running(run: Run) -> None:
    lease(run, since=NOW - 100)
    event(run, NOW - 90)


def waiting(run: Run) -> None:
    event(run, NOW - 5000)  # of the driver before
    lease(run, since=NOW - 100)


def waiting_again(run: Run) -> None:
    running(run)
    failure(run, NOW - 10)


def recovered(run: Run) -> None:
    waiting_again(run)
    event(run, NOW - 5)


def stopped(run: Run) -> None:
    lease(run, since=NOW - 100)
    event(run, NOW - 90)
    ask(run)
    holder = newest(f"{run.uri}/lease")
    assert holder is not None and holder.holder is not None
    content = holder.holder.renewal(released=True).content()
    filesystem.write_atomically(f"{run.uri}/lease/000000001.json", content)


def failed(run: Run) -> None:
    lease(run, since=NOW - 100, released=True)
    event(run, NOW - 90)
    failure(run, NOW - 10)


def failed_before(run: Run) -> None:
    """Is interrupted by the next driver, after a failure of the one before."""
    event(run, NOW - 90)
    failure(run, NOW - 80)
    lease(run, 2, since=NOW - 50, released=True)


def interrupted(run: Run) -> None:
    lease(run, since=NOW - 100, released=True)
    event(run, NOW - 90)


def starting(run: Run) -> None:
    """Is about to write its lease."""
    event(run, NOW - 90)
    filesystem.write_atomically(f"{run.uri}/lease/000000002.json", b"")


@pytest.mark.parametrize(
    ("write", "state", "reason"),
    [
        (starting, RunState.WAITING, ""),
        (lambda run: None, RunState.INTERRUPTED, "it has no lease"),
        (running, RunState.RUNNING, ""),
        (waiting, RunState.WAITING, ""),
        (waiting_again, RunState.WAITING, r"worker 1: \x1b[31mgone"),
        (recovered, RunState.RUNNING, ""),
        (stopped, RunState.STOPPED, "requested by "),
        (failed, RunState.FAILED, r"worker 1: \x1b[31mgone"),
        (failed_before, RunState.INTERRUPTED, "its driver, process 4242 on node-7, since "),
        (interrupted, RunState.INTERRUPTED, "its driver, process 4242 on node-7, since "),
    ],
)
def test_states(storage_uri: str, write: Callable[[Run], None], state: RunState, reason: str) -> None:
    run = planted(storage_uri, "run", steps=7, begun=NOW - 10_000)
    write(run)
    status = run_status(run)
    assert status.state is state
    assert status.reason.startswith(reason) and bool(status.reason) == bool(reason)
    assert status.state.is_over == (state not in (RunState.RUNNING, RunState.WAITING))


def test_a_run_that_is_asked_to_stop_says_so_until_it_has(storage_uri: str) -> None:
    run = planted(storage_uri, "run", steps=7, begun=NOW)
    with hold_lease(run.uri):
        event(run, time.time())
        ask(run)
        status = run_status(run)
        assert status.state is RunState.RUNNING and status.reason.startswith("stop requested by ")
    assert run_status(run).state is RunState.STOPPED


def test_the_numbers_of_a_running_run(storage_uri: str) -> None:
    run = planted(storage_uri, "run", steps=12, begun=NOW - 24, saved=[5, 10])
    running(run)
    failure(run, NOW - 95)
    status = run_status(run)
    expected = {
        "step": 12,
        "steps": STEPS,
        "last_step_time": NOW,
        "loss": 4.0 - 0.12,
        "score_name": "recall@10",
        "score": 0.2,  # of the line of step 10; the planted checkpoint has another score
        "best_score": 0.2,
        "best_step": 10,
        "pairs_per_s": 8.0,
        "left_s": 16.0,
        "saved_step": 10,
        "failures": 1,
        "skipped_recordings": {"silent": 3},
        "since": NOW - 100,
    }
    found = {name: value for name, value in asdict(status).items() if name in expected}
    assert found == expected
    assert status.driver.startswith("process 4242 on node-7, since ")
    assert json.loads(json.dumps(asdict(status)))["state"] == "running"


def test_the_best_score_is_that_of_a_kept_checkpoint_however_long_ago(tmp_path: Path) -> None:
    run = planted(str(tmp_path), "run", "train.steps=9000", saved=[40, 3000])
    append(run.metrics_uri, [{"step": step, "loss": 1.0, "step_s": 1.0} for step in range(1, 3001)])
    status = run_status(run)
    assert (status.best_score, status.best_step, status.score) == (30.0, 3000, 30.0)
    damaged = Path(run.uri, "checkpoint_000003000", "manifest.json")
    damaged.write_text("{")
    status = run_status(run)
    assert (status.best_score, status.best_step, status.saved_step) == (0.4, 40, 40)


def test_runs_that_are_over_or_have_not_begun(storage_uri: str) -> None:
    assert run_status(planted(storage_uri, "new")).state is RunState.NEVER_STARTED
    complete = planted(storage_uri, "complete", steps=STEPS, saved=[STEPS])
    lease(complete, released=True)
    assert run_status(complete).state is RunState.FINISHED
    early = planted(storage_uri, "early", steps=5, saved=[5])
    lease(early, released=True)
    filesystem.write_atomically(f"{early.uri}/over.json", b'{"step": 5, "train_steps": 20}')
    assert run_status(early).state is RunState.ENDED_EARLY


def test_without_a_time_the_last_step_is_as_old_as_the_file(tmp_path: Path) -> None:
    run = planted(str(tmp_path), "run", steps=3)
    assert run_status(run).last_step_time == pytest.approx(Path(run.metrics_uri).stat().st_mtime, abs=0.01)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"{}\n[]\nnull\n3\n",
        b'{"step": "x"}\n{"step": 2.5}\n{"step": 1' + 400 * b"0" + b"}\n",
        b'{"step": 4, "loss": "x", "step_s": null, "validation": 3, "skipped_recordings": [1], "time": "y"}\n',
        b'{"step": -4}\n{"step": true}\n{"step": 1e9}\n',
        b'{"step": 4, "loss": 1.7e308, "step_s": 5e-324, "validation": {"recall10": -1.7e308}, "time": 1e300}\n',
        b'{"step": 4, "loss": NaN, "step_s": -Infinity, "validation": {"recall10": true}, "time": 1e999}\n',
    ],
)
def test_odd_lines_are_no_errors(tmp_path: Path, lines: bytes) -> None:
    run = planted(str(tmp_path), "run")
    for uri in (run.metrics_uri, run.events_uri, run.failures_uri):
        Path(uri).write_bytes(lines)
    lease(run)
    status = run_status(run)
    assert status.loss is None and status.score is None and status.skipped_recordings == {}
    assert status.step == (4 if b'"step": 4' in lines else 0)
    json.dumps(asdict(status), allow_nan=False)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint_-5",
        f"checkpoint_{200 * '9'}",
        "checkpoint_\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0662\u0665",
        "checkpoint_25",
    ],
)
def test_only_checkpoints_are_saved_steps(tmp_path: Path, name: str) -> None:
    run = planted(str(tmp_path), "run", steps=7, saved=[5])
    filesystem.write_atomically(f"{run.uri}/{name}/manifest.json", b'{"files": {}, "score": 0.9}')
    status = run_status(run)
    assert (status.saved_step, status.best_score, status.state) == (5, 0.1, RunState.INTERRUPTED)


@pytest.mark.parametrize("content", [None, b"\xff", b"[train]\nsteps = 'many'", b"x = ["])
def test_a_damaged_recipe_is_a_state(tmp_path: Path, content: bytes | None) -> None:
    run = planted(str(tmp_path), "run", steps=3)
    if content is None:
        Path(run.recipe_uri).unlink()
    else:
        Path(run.recipe_uri).write_bytes(content)
    status = run_status(run)
    assert status.state is RunState.DAMAGED
    assert "recipe" in status.reason and status.reason.isprintable() and len(status.reason) <= 300

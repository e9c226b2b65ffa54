"""Tests the files of a sweep's results, written at the end and meanwhile."""

import io
import json
import threading

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from mulan.storage import filesystem
from tests.tune.sweeps import SPACE, options, plan_in, trained
from tests.tune.test_summary import swept
from tests.waiting import wait_until
from tune import results as module
from tune.results import LiveResults, SweepResults, to_parquet
from tune.trial import planned_trials


def test_the_table_has_a_row_for_each_trial(run_folder: str) -> None:
    result = swept(plan_in(run_folder, space=SPACE))
    table = pq.read_table(io.BytesIO(to_parquet(result)))
    assert table.column_names == [
        "trial",
        "state",
        "reason",
        "steps",
        "worker_seconds",
        *result.plan.space.domains,
        "objective recall10",
    ]
    rows = table.to_pylist()
    assert [row["state"] for row in rows] == [one.state for one in result.outcomes]
    assert [row["objective recall10"] for row in rows] == [0.4, 0.5, 0.9, 0.7, 0.3, None]
    assert rows[3]["reason"] == "the loss of step 3 is nan"
    assert [row["optim.lr"] for row in rows[1:]] == [(one.trial.point or {})["optim.lr"] for one in result.outcomes[1:]]
    assert rows[0]["optim.lr"] == result.plan.recipe.optim.lr
    assert {row["audio_tower.stem_channels"] for row in rows} <= {"4", "8"}


def test_files_are_written_and_ended_trials_read_once(run_folder: str) -> None:
    plan = plan_in(run_folder)
    results = SweepResults(plan, options(3))
    trials = planned_trials(plan, 3)
    trained(trials[0], 0.5)
    trials[0].end(2, train_steps=6)
    results.read()
    filesystem.remove(trials[0].run.metrics_uri)  # it is not read again
    trained(trials[1], 0.25)
    results.write(results.read())
    content = json.loads(filesystem.read_bytes(f"{plan.run.uri}/sweep.json"))
    assert [one["figures"]["recall10"] for one in content["trials"]] == [0.5, 0.25, None]
    assert filesystem.read_bytes(f"{plan.run.uri}/sweep.html").endswith(b"</html>")
    assert pq.read_table(io.BytesIO(filesystem.read_bytes(f"{plan.run.uri}/sweep.parquet"))).num_rows == 3


def test_files_and_table_are_kept_up_to_date(run_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_PERIOD_S", 0.0)
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    failing = threading.Event()
    # drawing takes seconds, and is tested above
    monkeypatch.setattr(module, "render_page", lambda *arguments: str(1 / 0) if failing.is_set() else "")
    plan = plan_in(run_folder)
    output = io.StringIO()
    live = LiveResults(SweepResults(plan, options(2)), Console(file=output, force_terminal=True, width=120))
    uri = f"{plan.run.uri}/sweep.json"
    with live.shown():
        assert not filesystem.exists(uri)
        trained(planned_trials(plan, 1)[0], 0.5)
        live.on_change()
        wait_until(lambda: filesystem.exists(uri), what="the file")
        assert "0.500" in output.getvalue()
        # neither an error of the page nor a damaged file of a trial ends the thread
        failing.set()
        live.on_change()
        wait_until(lambda: not live.is_pending, what="an attempt")
        failing.clear()
        filesystem.write_atomically(f"{plan.runs_uri}/trial_0001/metrics.jsonl", b"damaged\n")
        live.on_change()
        filesystem.remove(uri)
        wait_until(lambda: not live.is_pending, what="an attempt")
        filesystem.remove(f"{plan.runs_uri}/trial_0001/metrics.jsonl")
        live.on_change()
        wait_until(lambda: filesystem.exists(uri), what="the file again")

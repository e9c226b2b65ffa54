"""Tests how runs are shown in a terminal."""

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mulan.monitoring.run_list import OtherFolder, list_runs
from mulan.monitoring.status import RunState, RunStatus, run_status
from mulan.monitoring.terminal import RunsTable, status_facts, status_line, status_view
from tests.monitoring.planted import append, lease, planted
from tests.monitoring.test_run_list import write_all

NOW = 1_800_000_000.0
STATUS = RunStatus(
    "run", "/runs/run", RunState.RUNNING, step=3, steps=20, last_step_time=NOW - 130, loss=3.14159,
    score_name="recall@10", score=0.25, best_score=0.5, best_step=2, pairs_per_s=8.04, left_s=3725.0, saved_step=2,
    failures=2, last_failure="worker 1: [bold]gone",
    skipped_recordings={"silent": 3}, driver="process 7 on node-1, since noon",
)  # fmt: skip


def printed(renderable: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, emoji=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_row_of_each_kind(tmp_path: Path) -> None:
    write_all(str(tmp_path))
    table = printed(RunsTable(list_runs(str(tmp_path)), now=time.time()))
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert "finished" in rows["alone"] and "20/20" in rows["alone"] and "0.400 at 20" in rows["alone"]
    assert "(sweep)" in rows["sweep/"] and "2 ended by its sweep, 1 running" in rows["sweep/"]
    assert "0.200 of trial_0001" in rows["sweep/"] and "alive" in rows["sweep/"]
    assert "2 never started" in rows["ablation/"]
    assert "corpus: not a run (no recipe.toml)" in table
    assert "broken: " in table and "\x1b" not in table


def test_folders_that_are_no_runs_need_no_table() -> None:
    assert printed(RunsTable([OtherFolder("demo", "no recipe.toml")], now=NOW)) == "demo: not a run (no recipe.toml)\n"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_lacks_columns_but_folds_none(tmp_path: Path, width: int) -> None:
    write_all(str(tmp_path))
    table = printed(RunsTable(list_runs(str(tmp_path)), now=time.time()), width).splitlines()
    assert max(len(line.rstrip()) for line in table) <= width
    headings, _, *rows = [line for line in table if line.strip()]
    assert headings.split()[:2] == ["run", "state"]
    if width >= 80:
        assert any("alone" in row and "20/20" in row for row in rows)
    assert ("pairs/s" in headings) <= (width >= 120)


def test_the_facts_of_a_run() -> None:
    assert status_facts(STATUS, now=NOW) == {
        "state": "running",
        "step": "3 of 20",
        "last step": "2 min 10 s ago",
        "loss": "3.1416",
        "score": "recall@10 0.250, best 0.500 at step 2",
        "speed": "8.0 pairs/s, 1 h 2 min left",
        "checkpoint": "of step 2",
        "driver": "process 7 on node-1, since noon",
        "failures": "2, the last: worker 1: [bold]gone",
        "skipped": "silent 3",
    }
    assert status_line(STATUS) == (
        "run  running  step 3 of 20  loss 3.1416  recall@10 0.250, best 0.500 at step 2  8.0 pairs/s, 1 h 2 min left"
    )
    unknown = RunStatus("run", "/runs/run", RunState.NEVER_STARTED)
    assert status_facts(unknown, now=NOW) == {"state": "never started", "checkpoint": "none"}
    assert status_line(unknown) == "run  never started"


def test_a_view_has_curves_and_the_last_events(tmp_path: Path) -> None:
    run = planted(str(tmp_path), "run", steps=12)
    lease(run)
    append(run.metrics_uri, [{"step": 13, "loss": None, "pairs_per_s": "x", "validation": 3}])
    shown = printed(
        status_view(run_status(run), run.metrics(), [f"event {n}" for n in range(9)], score="recall10", now=NOW), 80
    )
    assert "loss, steps 1 to 12" in shown and "recall@10, steps 5 to 10" in shown and "pairs/s, steps 1 to 12" in shown
    assert [line for line in shown.splitlines() if line.startswith("event")] == [f"event {n}" for n in range(4, 9)]
    lines = shown.splitlines()
    loss = lines.index("loss, steps 1 to 12")
    assert lines[loss + 1].startswith("3.99 ") and lines[loss + 5].startswith("3.88 ")


def test_absurd_times_can_be_shown() -> None:
    facts = status_facts(replace(STATUS, left_s=float("inf"), last_step_time=-1e300), now=NOW)
    assert facts["speed"].endswith(" left") and facts["last step"].endswith(" ago")

"""Tests that the benchmark of an index reports all that it promises."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.index import GOALS, MIN_ROWS, bench_index
from mulan.storage.machine_cache import CACHE_VARIABLE


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_the_report_has_all_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six processes, one of which starts Ray: the figures are of fresh processes."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))  # which the benchmark changes
    lines: list[str] = []
    report = bench_index(rows=MIN_ROWS, rounds=1, progress=lines.append)
    assert [line.partition(":")[0] for line in lines] == ["write", "open", "open", "share", "order"]
    assert all(goal.met for goal in report.goals)
    report.write(tmp_path / "report.json", command="")
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert {*GOALS, "write_private_mib", "serial_correlation_z"} < row["figures"].keys()

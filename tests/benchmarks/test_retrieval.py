"""Tests that the benchmark of retrieval reports time, memory and the difference from scikit-learn."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks import retrieval
from mulan.benchmarks.retrieval import bench_retrieval

pytestmark = pytest.mark.processes


def test_the_report_has_both_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "QUERIES_OF_SCIKIT_LEARN", 4)
    lines: list[str] = []
    report = bench_retrieval(queries=6, recordings=500, rounds=1, progress=lines.append)
    assert [row.name for row in report.rows] == ["search", "scikit-learn"]
    assert ["6 queries" in line for line in lines] == [True, False]
    assert [goal.bound for goal in report.goals] == [60, 2, 1e-9]
    assert all(goal.measured >= 0 and goal.met for goal in report.goals)
    assert report.goals[2].measured < 1e-12
    report.write(tmp_path / "report.json", command="")
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["queries of scikit-learn"] == 4

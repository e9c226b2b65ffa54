"""Tests that the benchmark of adoption reports time, bytes and memory, and compares them with the goals."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.adoption import bench_adoption

pytestmark = pytest.mark.processes


def test_the_report_has_both_layouts(tmp_path: Path) -> None:
    lines: list[str] = []
    report = bench_adoption(recordings=600, rounds=1, progress=lines.append)
    assert [row.name for row in report.rows] == ["tars of 512", "one tar"]
    assert len(lines) == 2
    shares = [goal for goal in report.goals if "percent" in goal.what]
    assert [goal.bound for goal in report.goals] == [60, 1, 60, 1]
    assert all(goal.measured > 0 and goal.met for goal in shares)
    report.write(tmp_path / "report.json", command="")
    assert json.loads((tmp_path / "report.json").read_text())["title"] == "Adoption"

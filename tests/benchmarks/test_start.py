"""Tests the benchmark of starts: its commands end with the expected codes, and the report has their times."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from mulan.benchmarks import start
from mulan.benchmarks.process_tree import ProcessReading
from mulan.benchmarks.start import bench_start, read

pytestmark = pytest.mark.processes


def test_times_of_help_are_measured() -> None:
    reading = read([sys.executable, "-m", "jobs.train", "--help"], exit_code=0)
    assert reading.cpu_s > 0 and reading.wall_s > 0


def test_the_report_has_the_times_of_each_start(tmp_path: Path) -> None:
    """Help and the refusal are real; Ray is replaced."""

    def without_ray(command: Sequence[str], *, exit_code: int) -> ProcessReading:
        if exit_code or "--help" in command:
            return read(command, exit_code=exit_code)
        assert Path(command[-1], "index.parquet").exists()
        return ProcessReading(wall_s=20.0, cpu_s=39.0, processes=20, exit_code=0, peak_memory_mb=900.0)

    lines: list[str] = []
    with patch.object(start, "read", without_ray):
        report = bench_start(rounds=1, progress=lines.append)
    assert [row.name for row in report.rows] == ["help", "refused", "Ray Train, two workers, two steps"]
    assert len(lines) == 3
    assert [goal.bound for goal in report.goals] == [2, 2, 40]
    assert report.goals[-1].met
    report.write(tmp_path / "report.json", command="")
    assert json.loads((tmp_path / "report.json").read_text())["title"] == "Start"

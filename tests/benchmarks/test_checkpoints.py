"""Tests the benchmark of checkpoints in small: every part is measured, and restored tensors equal the saved ones."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.checkpoints import bench_checkpoint
from mulan.recipes.registry import load_recipe


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_the_report_has_the_times_of_saving_and_restarting(tmp_path: Path) -> None:
    recipe = load_recipe("m_resnet50_audioset_miniature", ["train.zero_stage=1"])
    lines: list[str] = []
    report = bench_checkpoint(recipe, rounds=1, progress=lines.append)
    names = ["save, 2 processes, stage 1", "restore, 2 processes, stage 1", "restore, 1 process, stage 3"]
    assert [row.name for row in report.rows] == names
    assert len(lines) == 3
    saved, *restored = (row.figures for row in report.rows)
    for figures, columns in [(saved, ("training paused", "background write"))] + [
        (figures, ("verified", "restored")) for figures in restored
    ]:
        assert all(figures[column].low > 0 for column in columns)
    *_, differing = report.goals
    assert (differing.measured, differing.bound) == (0, 0)
    report.write(tmp_path / "report.json", command="")
    assert json.loads((tmp_path / "report.json").read_text())["title"] == "Checkpoint"

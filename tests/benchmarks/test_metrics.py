"""Tests the report of the benchmark of metrics on readings that are given here."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from mulan.benchmarks import metrics
from mulan.benchmarks.metrics import bench_metrics
from mulan.recipes.registry import load_recipe


def test_the_share_is_that_of_both_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [
        {"plain_s": 0.1, "measured_s": 0.101, "calls_s": 1e-4, "publishing_s": 2e-4},
        {"plain_s": 0.1, "measured_s": 0.099, "calls_s": 2e-4, "publishing_s": 4e-4},
        {"plain_s": 0.2, "measured_s": 0.2, "calls_s": 4e-4, "publishing_s": 4e-4},
    ]
    lines: list[str] = []

    def measured(module: str, arguments: Sequence[str], **_: Any) -> str:
        assert json.loads(arguments[0])["steps"] == 50
        return json.dumps(readings[len(lines)])

    monkeypatch.setattr(metrics, "in_fresh_process", measured)
    report = bench_metrics(load_recipe("demo_miniature"), rounds=3, steps=50, progress=lines.append)
    (goal,) = report.goals
    assert goal.measured == pytest.approx(0.4) and goal.met
    assert report.rows[1].figures["share"].values == pytest.approx((0.3, 0.6, 0.4))
    assert report.rows[1].figures["/ without"].values == pytest.approx((1.01, 0.99, 1.0))

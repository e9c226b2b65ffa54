"""The report of searches has the server and the stores, each with its goals."""

import json
from pathlib import Path
from typing import Any

import pytest

from mulan.benchmarks import search
from mulan.benchmarks.measure import BenchmarkRefused
from mulan.benchmarks.search import GOAL_GIB, GOAL_P50_MS, GOAL_P99_MS, GOAL_QUERY_MS, GOAL_RECALL, STORES, bench_search

pytestmark = pytest.mark.processes


def test_the_report_of_a_store_has_its_goals(tmp_path: Path) -> None:
    lines: list[str] = []
    report = bench_search(recordings=0, requests=0, clients=1, vectors=2000, stores=["lancedb"], progress=lines.append)
    assert [row.name for row in report.rows] == ["lancedb"]
    figures = report.rows[0].figures
    assert set(figures) == {"build", "build peak", "recall", "query p50", "query p99", "peak"}
    assert all(figure.median > 0 for figure in figures.values())
    assert figures["query p50"].median <= figures["query p99"].median
    assert [goal.bound for goal in report.goals] == [GOAL_RECALL, GOAL_QUERY_MS, GOAL_GIB]
    assert report.goals[0].measured == figures["recall"].median > 0.9
    assert ["2000 vectors" in line for line in lines] == [True, False]
    report.write(tmp_path / "report.json", command="")
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["vectors"] == 2000


@pytest.mark.parametrize("wrong", [{"stores": ["none"]}, {"vectors": -1}, {"requests": -1}, {"requests": 1}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, Any]) -> None:
    numbers = {"recordings": 0, "requests": 0, "clients": 1, "vectors": 500, "stores": ["lancedb"]} | wrong
    with pytest.raises(BenchmarkRefused, match="there are the stores lancedb, "):
        bench_search(**numbers, progress=lambda line: None)


@pytest.mark.long(group="layouts")
def test_the_report_of_the_server_has_its_goals() -> None:
    report = bench_search(recordings=300, requests=100, clients=4, vectors=0, stores=[], progress=lambda line: None)
    assert [row.name for row in report.rows] == [search.SERVER]
    figures = report.rows[0].figures
    assert set(figures) == {"start", "requests"} | {
        f"{part} p{share}" for part in ("server", "model", "client") for share in (50, 99)
    }
    assert all(figure.median > 0 for figure in figures.values())
    assert figures["client p50"].median > figures["server p50"].median
    assert [goal.bound for goal in report.goals][:3] == [GOAL_P50_MS, GOAL_P99_MS, 0]
    assert report.goals[2].measured == 0


def test_a_store_that_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STORES, "faiss", "faiss_of_another_world")
    report = bench_search(recordings=0, requests=0, clients=1, vectors=500, stores=["faiss"], progress=print)
    assert [(row.name, row.remark) for row in report.rows] == [("faiss", "not installed: pip install -e '.[peers]'")]
    assert not report.goals

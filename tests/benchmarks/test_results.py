"""Tests the report as a table and as JSON."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mulan.benchmarks.measure import Figure
from mulan.benchmarks.results import Goal, Report, Row

REPORT = Report(
    title="A loss",
    settings={"pairs": 64},
    rows=[
        Row("ours", {"time": Figure((0.25, 0.5, 0.125), "s"), "memory": Figure((40.0,), "MB")}),
        Row("theirs", {"time": Figure((1.0, 2.0, 3.0), "s")}, remark="another loss"),
    ],
    goals=[Goal("time", 0.25, 1.3, at_most=True), Goal("speed", 2.0, 3.0, at_most=False)],
    notes=["Memory is a peak."],
    machine={"processor": "abacus"},
)


@pytest.mark.parametrize(
    ("measured", "at_most", "met"),
    [(1.0, True, True), (1.3, True, True), (2.0, True, False), (1.0, False, False), (1.3, False, True)],
)
def test_a_goal_is_an_upper_or_lower_bound(measured: float, at_most: bool, met: bool) -> None:
    goal = Goal("time", measured, 1.3, at_most=at_most)
    assert goal.met == met
    assert str(goal).startswith("met" if met else "MISSED")


def test_the_table_shows_every_candidate_with_medians_ranges_and_remarks() -> None:
    out = io.StringIO()
    REPORT.print(Console(file=out, width=200))
    shown = out.getvalue()
    for text in ("A loss", "pairs 64", "abacus", "ours", "0.25 s (0.125 to 0.5)", "40 MB", "theirs", "another loss"):
        assert text in shown
    assert "Memory is a peak." in shown
    assert "MISSED  speed: 2 (goal ≥ 3)" in shown


def test_json_contains_every_measurement(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "folder" / "report.json", command="python -m measure")
    written = json.loads((tmp_path / "folder" / "report.json").read_text())
    ours, theirs = written["rows"]
    assert ours["figures"]["time"] == {
        "median": 0.25, "low": 0.125, "high": 0.5, "values": [0.25, 0.5, 0.125], "unit": "s"
    }  # fmt: skip
    assert (theirs["name"], theirs["remark"], list(theirs["figures"])) == ("theirs", "another loss", ["time"])
    assert [goal["met"] for goal in written["goals"]] == [True, False]
    assert written["command"] == "python -m measure"
    assert written["settings"] == {"pairs": 64}
    assert written["machine"] == {"processor": "abacus"}
    assert written["notes"] == ["Memory is a peak."]


def test_a_report_describes_the_machine_by_default() -> None:
    described = Report("A loss", {}, []).machine
    assert "cores" in described["processor"]
    assert described["torch"] != "not installed"

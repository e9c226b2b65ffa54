"""Tests the derived figures and goals of the report on planted readings of an H100."""

import pytest

from mulan.benchmarks.gpu_readings import GpuReading
from mulan.benchmarks.gpu_report import report_of
from mulan.benchmarks.results import Goal

READINGS = [
    GpuReading("product of square matrices, bfloat16", (790.0, 800.0, 810.0), "TFLOP/s"),
    GpuReading("m_ast: step", (10.0, 12.0), "s"),
    GpuReading("m_ast: model FLOPs", (440.0, 360.0), "TFLOP/s"),
    GpuReading("m_ast: peak memory", (40.0,), "GB"),
    GpuReading("m_ast: host waits before all gradients are queued", (2.0,), "", "step.py:1"),
    GpuReading("loss of 6,144 pairs, open_clip: seconds", (), "s", "not measured: no module"),
    GpuReading("loss of 6,144 pairs, tiled: seconds", (0.1, 0.11, 0.12), "s"),
    GpuReading("m_ast, compiled: step", (5.0,), "s"),
    GpuReading("m_ast, compiled: model FLOPs", (200.0,), "TFLOP/s"),
    GpuReading("m_ast, compiled: peak memory", (25.0,), "GB"),
    GpuReading("m_resnet50: model FLOPs", (80.0,), "TFLOP/s"),
    GpuReading("m_resnet50: step", (2.2,), "s"),
    GpuReading("m_ast: calculated memory", (32.0,), "GB"),
]


def by_name(count: int = len(READINGS)) -> dict[str, GpuReading]:
    return {reading.name: reading for reading in READINGS[:count]}


def test_shares_and_goals_follow_from_the_figures() -> None:
    report = report_of(by_name(), {"device": "cuda"})
    assert [row.name for row in report.rows[: len(READINGS)]] == [reading.name for reading in READINGS]
    derived = {row.name: row.figures["measured"].values for row in report.rows[len(READINGS) :]}
    assert derived == {
        "m_ast: model FLOPs to the measured product": pytest.approx((0.55, 0.45)),
        "m_ast: loss of 6,144 pairs to the step": pytest.approx((0.01,)),
        "m_ast: peak memory to the calculated one": (1.25,),
        "m_ast, compiled: model FLOPs to the measured product": (0.25,),
        "m_ast, compiled: loss of 6,144 pairs to the step": pytest.approx((0.022,)),
        "m_ast, compiled: peak memory to the calculated one": (0.78125,),
        "m_resnet50: model FLOPs to the measured product": (0.1,),
        "m_resnet50: loss of 6,144 pairs to the step": pytest.approx((0.05,)),
    }
    assert [(goal.what, goal.met) for goal in report.goals] == [
        ("m_ast: model FLOPs to the measured product", True),
        ("m_ast: loss of 6,144 pairs to the step", True),
        ("m_ast: peak memory to the calculated one", False),
        ("m_ast: host waits before all gradients are queued", False),
        ("m_ast, compiled: model FLOPs to the measured product", False),
        ("m_ast, compiled: loss of 6,144 pairs to the step", False),
        ("m_ast, compiled: peak memory to the calculated one", True),
        ("m_resnet50: loss of 6,144 pairs to the step", False),
    ]


def test_a_report_of_the_first_figures_has_what_follows_from_them() -> None:
    report = report_of(by_name(3), {"device": "cuda"}, left_out=["m_resnet50 (step)"])
    assert [row.name for row in report.rows[3:]] == ["m_ast: model FLOPs to the measured product"]
    assert report.goals == [Goal("m_ast: model FLOPs to the measured product", 0.5, 0.5, at_most=False)]
    assert report.goals[0].met
    assert "m_resnet50 (step)" in report.notes[-1]
    assert report_of({}, {"device": "cuda"}).goals == []


def test_a_figure_that_was_not_measured_has_its_reason() -> None:
    rows = {row.name: row for row in report_of(by_name(), {"device": "cuda"}).rows}
    row = rows["loss of 6,144 pairs, open_clip: seconds"]
    assert (row.figures, row.remark) == ({}, "not measured: no module")


def test_on_a_cpu_no_goal_applies() -> None:
    report = report_of(by_name(), {"device": "cpu"})
    assert report.goals == []
    assert any("no goal" in note for note in report.notes)

"""Tests the pictures of curves: which there are, and that their lines are the planted values."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from mulan.monitoring.curves import CurveGroup, curve_groups
from mulan.storage.line_values import MAX_NUMBER, MAX_STEP
from tests.monitoring.planted import metrics_line


def lines_of(steps: int, *, begun: float | None = None, lift: float = 0.0) -> list[dict[str, Any]]:
    lines = [metrics_line(step, begun) for step in range(1, steps + 1)]
    return [line | {"loss": line["loss"] + lift} for line in lines]


def titles(group: CurveGroup) -> list[str]:
    return [re.split(r" by ", picture.alt)[0] for picture in group.pictures]


def test_runs_are_overlaid_over_steps_and_where_there_is_a_time_over_hours() -> None:
    lines = {"one": lines_of(40), "two": lines_of(20, begun=1000.0, lift=1.0)}
    over_steps, over_hours = curve_groups(lines, "recall10")
    assert titles(over_steps) == [
        *("Training loss", "Validation R@10", "Temperature", "Gradient norm before clipping", "Learning rate"),
        "Throughput",
    ]
    assert titles(over_hours) == ["Training loss", "Validation R@10"]
    assert over_steps.pictures[0].alt == "Training loss by step; at the end: one 3.6, two 4.8."
    assert over_hours.pictures[0].alt == "Training loss by hours since the first step; at the end: two 4.8."
    svg = over_steps.pictures[0].svg.decode()
    assert ">\N{ZERO WIDTH SPACE}one<" in svg and ">\N{ZERO WIDTH SPACE}two<" in svg  # the legend
    assert "legend" not in curve_groups({"one": lines_of(9)}, "recall10")[0].pictures[0].svg.decode()


def test_a_line_is_drawn_where_its_values_are() -> None:
    """The points of the path in the picture are an affine map of the steps and values."""
    values = [2.0, 5.0, 3.0, 7.0, 1.0]
    lines = [{"step": step, "loss": value} for step, value in enumerate(values, 1)]
    svg = curve_groups({"run": lines}, "recall10")[0].pictures[0].svg.decode()
    found = re.search(r'id="line2d_\d+">\s*<path d="([^"]+)" clip-path[^>]*stroke: #0072b2', svg, re.IGNORECASE)
    assert found is not None
    points = np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", found[1]), dtype=float)
    assert len(points) == 5
    for drawn, planted in ((points[:, 0], np.arange(5)), (-points[:, 1], np.array(values))):
        scaled = (drawn - drawn.min()) / (drawn.max() - drawn.min())
        expected = (planted - planted.min()) / (planted.max() - planted.min())
        np.testing.assert_allclose(scaled, expected, atol=1e-4)


def test_long_runs_are_averaged_and_the_picture_stays_small() -> None:
    short, long = (
        curve_groups({"run": [{"step": step, "loss": math.sin(step)} for step in range(1, steps)]}, "recall10")
        for steps in (2_000, 60_000)
    )
    assert len(long[0].pictures[0].svg) < 1.2 * len(short[0].pictures[0].svg)


def test_terms_have_pictures_if_there_are_several_and_odd_lines_are_left_out() -> None:
    lines: list[dict[str, Any]] = [{"step": step, "loss": 1.0, "loss_a": 0.5, "loss_b": 0.5} for step in range(1, 4)]
    lines += [{"step": 4, "loss": None, "loss_a": math.nan, "validation": 3}, {"step": "x", "loss": 1.0}, {}]
    (group,) = curve_groups({"run": lines}, "recall10")
    assert titles(group) == ["Training loss", "Loss term a", "Loss term b"]
    assert curve_groups({"run": []}, "recall10") == []
    one = [{"step": 1, "loss": 1.0, "loss_a": 1.0}]
    assert titles(curve_groups({"run": one}, "recall10")[0]) == ["Training loss"]


@pytest.mark.parametrize(
    "lines",
    [
        [{"step": 1, "loss": 1.7e308}, {"step": 2, "loss": -1.7e308}, {"step": 3, "loss": 2.5}],
        [
            {"step": 10**400, "loss": 1.0},
            {"step": -7, "loss": 1.0},
            {"step": True, "loss": 1},
            {"step": 3, "loss": 2.5},
        ],
        [{"step": 3, "loss": 2.5}, {"step": 1, "loss": MAX_NUMBER}, {"step": 2, "loss": -MAX_NUMBER}],
        [{"step": 1, "loss": 5e-324}, {"step": 2, "loss": 1e-323}, {"step": MAX_STEP, "loss": 2.5}],
    ],
)
def test_numbers_of_any_size_are_drawn_or_left_out(lines: list[dict[str, Any]]) -> None:
    timed = [line | {"time": line["loss"] * 3600} for line in lines]
    groups = curve_groups({"run": timed}, "recall10")
    assert groups[0].pictures[0].alt == "Training loss by step; at the end: run 2.5."


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"$\frac$", r"$\frac$"),
        ("$", "$"),
        ("\ud800", r"\ud800"),
        ("a\0\x1b[31m", r"a\x00\x1b[31m"),
        ("<script>alert(1)</script>&", "<script>alert(1)</script>&"),
        ("夜\N{ZERO WIDTH NON-JOINER}曲", "夜\N{ZERO WIDTH NON-JOINER}曲"),
        ("x" * 2000, "x" * 40),
    ],
)
def test_any_name_is_shown_as_it_is(name: str, shown: str) -> None:
    line = {"step": 1, "loss": 1.0, f"loss_{name}": 1.0, "loss_other": 1.0, "validation": {name: 0.5}}
    (group,) = curve_groups({name: [line], "b": [line]}, "recall10")
    assert len(group.pictures) == 4
    all_texts: list[str] = []
    for picture in group.pictures:
        assert b"<script" not in picture.svg
        texts = list(ElementTree.fromstring(picture.svg).itertext())
        assert any(shown in text for text in texts if text.startswith("\N{ZERO WIDTH SPACE}"))  # the legend
        all_texts.extend(texts)
    assert any(f"Loss term {shown}" in text for text in all_texts)
    assert any(f"Validation {shown}" in text for text in all_texts)


def test_names_are_neither_mathematics_nor_hidden() -> None:
    svg = curve_groups({"_a$b$": lines_of(3), "b": lines_of(3)}, "recall10")[0].pictures[0].svg.decode()
    assert "_a$b$<" in svg

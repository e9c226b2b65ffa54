"""Tests curves of braille dots against the values that they show."""

import math

import pytest

from mulan.monitoring.terminal_curve import curve_lines
from mulan.storage.line_values import MAX_NUMBER


def dots(lines: list[str], label_width: int) -> set[tuple[int, int]]:
    """Returns column and row of each dot, by the definition of Unicode: dots 1 to 8 are the bits from the lowest on."""
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
    return {
        (2 * column + places[bit][0], 4 * row + places[bit][1])
        for row, line in enumerate(lines)
        for column, char in enumerate(line[label_width + 1 :])
        for bit in range(8)
        if ord(char) - 0x2800 >> bit & 1
    }


def test_a_rising_line_is_a_diagonal_with_its_ends_as_labels() -> None:
    lines = curve_lines([(step, float(step)) for step in range(16)], width=8, height=4)
    assert lines[0].split()[0] == "15"
    assert lines[-1].split()[0] == "0"
    assert dots(lines, 2) == {(column, 15 - column) for column in range(16)}


def test_columns_show_the_mean_of_their_values_and_gaps_are_bridged() -> None:
    points = [(0, 1.0), (1, 3.0), (98, 0.0), (99, 0.0)]
    lines = curve_lines(points, width=10, height=2)
    assert lines[0].startswith("2 ")  # the mean of 1 and 3, not their maximum
    found = dots(lines, 1)
    assert {(0, 0), (19, 7)} <= found
    assert {column for column, _ in found} == set(range(20))


@pytest.mark.parametrize("points", [[(5.0, 2.5)], [(1.0, 2.5), (9.0, 2.5)]])
def test_equal_values_are_a_level_line_with_one_label(points: list[tuple[float, float]]) -> None:
    lines = curve_lines(points, width=4, height=3)
    assert [line[:3] for line in lines] == ["2.5", "   ", "   "]
    assert {row for _, row in dots(lines, 3)} == {6}


def test_points_are_drawn_in_the_order_of_their_steps() -> None:
    points = [(0, 1.0), (100, 2.0), (200, 3.0)]
    drawn = curve_lines(points, width=10, height=3)
    assert curve_lines([points[1], points[0], points[2]], width=10, height=3) == drawn
    assert curve_lines([points[2], points[1], points[0]], width=10, height=3) == drawn


@pytest.mark.parametrize("size", [MAX_NUMBER, 1e-300])
def test_the_largest_and_the_smallest_numbers_can_be_drawn(size: float) -> None:
    lines = curve_lines([(step, size * (-1) ** step) for step in range(8)], width=4, height=2)
    assert [line.split()[0] for line in lines] == [f"{size:.4g}", f"{-size:.4g}"]


def test_nothing_is_drawn_of_nothing_and_lines_have_their_size() -> None:
    assert curve_lines([], width=4, height=3) == []
    lines = curve_lines([(step, math.sin(step)) for step in range(1000)], width=30, height=5)
    assert len(lines) == 5
    assert max(map(len, lines)) <= max(len(line.split(" ")[0]) for line in lines) + 1 + 30 + 10

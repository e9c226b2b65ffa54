"""Tests that candidates take turns, that all measurements are kept, and that failed processes report their error."""

from collections.abc import Callable

import pytest

from mulan.benchmarks.measure import Figure, in_fresh_process, interleaved, ratios


def test_a_figure_is_a_median_with_its_range() -> None:
    figure = Figure((3.0, 1.0, 10.0), "s")
    assert (figure.median, figure.low, figure.high) == (3.0, 1.0, 10.0)
    assert Figure((1.0, 2.0, 4.0, 100.0), "s").median == 3.0


def test_candidates_take_turns_in_an_order_that_rotates() -> None:
    order: list[str] = []

    def candidate(name: str) -> Callable[[], float]:
        def read() -> float:
            order.append(name)
            return float(len(order))

        return read

    reported: list[tuple[str, int, float]] = []
    figures = interleaved(
        {name: candidate(name) for name in "abc"},
        rounds=4,
        unit="s",
        on_reading=lambda *reading: reported.append(reading),
    )
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert figures["a"] == Figure((1.0, 6.0, 8.0, 10.0), "s")
    assert reported[:4] == [("a", 1, 1.0), ("b", 1, 2.0), ("c", 1, 3.0), ("b", 2, 4.0)]


def test_rounds_end_when_no_further_one_is_wanted() -> None:
    wanted = iter([True, False])
    figures = interleaved(
        {name: lambda: 1.0 for name in "ab"},
        rounds=9,
        unit="s",
        on_reading=lambda *_: None,
        another_round=lambda: next(wanted),
    )
    assert {name: len(figure.values) for name, figure in figures.items()} == {"a": 2, "b": 2}


def test_ratios_are_taken_round_by_round() -> None:
    """The ratio of medians would be 2: the second round was slow for both candidates."""
    assert ratios(Figure((1.0, 8.0, 2.0), "s"), Figure((1.0, 16.0, 1.0), "s")) == Figure((1.0, 0.5, 2.0), "x")
    with pytest.raises(AssertionError):
        ratios(Figure((1.0,), "s"), Figure((1.0,), "MB"))


@pytest.mark.processes
def test_the_output_of_a_fresh_process_is_returned() -> None:
    assert "January 2024" in in_fresh_process("calendar", ["2024", "1"], timeout_s=60)


@pytest.mark.processes
def test_the_error_of_a_failed_process_is_raised() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)calendar no-year failed: .*invalid int value"):
        in_fresh_process("calendar", ["no-year"], timeout_s=60)

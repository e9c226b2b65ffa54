"""Candidates take turns, every reading is kept, and a fresh process that fails says why."""

from collections.abc import Callable

import pytest

from mulan.benchmarks.measure import Figure, in_fresh_process, interleaved, ratios


def test_a_figure_is_a_median_with_its_range() -> None:
    figure = Figure((3.0, 1.0, 10.0), "s")
    assert (figure.median, figure.low, figure.high) == (3.0, 1.0, 10.0)
    assert Figure((1.0, 2.0, 4.0, 100.0), "s").median == 3.0


def test_candidates_take_turns_and_another_one_begins_each_round() -> None:
    order: list[str] = []

    def candidate(name: str) -> Callable[[], float]:
        def read() -> float:
            order.append(name)
            return float(len(order))

        return read

    told: list[tuple[str, int, float]] = []
    figures = interleaved(
        {name: candidate(name) for name in "abc"}, rounds=4, unit="s", on_reading=lambda *reading: told.append(reading)
    )
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert figures["a"] == Figure((1.0, 6.0, 8.0, 10.0), "s")
    assert told[:4] == [("a", 1, 1.0), ("b", 1, 2.0), ("c", 1, 3.0), ("b", 2, 4.0)]


def test_ratios_are_taken_round_by_round() -> None:
    """Of medians it would be 2: a slow round of both candidates is none of theirs."""
    assert ratios(Figure((1.0, 8.0, 2.0), "s"), Figure((1.0, 16.0, 1.0), "s")) == Figure((1.0, 0.5, 2.0), "x")
    with pytest.raises(AssertionError):
        ratios(Figure((1.0,), "s"), Figure((1.0,), "MB"))


@pytest.mark.processes
def test_a_fresh_process_gives_its_output() -> None:
    assert "January 2024" in in_fresh_process("calendar", ["2024", "1"], timeout_s=60)


@pytest.mark.processes
def test_a_fresh_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)calendar no-year failed: .*invalid int value"):
        in_fresh_process("calendar", ["no-year"], timeout_s=60)

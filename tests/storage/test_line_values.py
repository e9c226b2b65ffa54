"""Tests which values of lines are taken, whatever a file contains."""

import math
from typing import Any

import pytest

from mulan.storage.line_values import MAX_STEP, number, parsed_line, step_of, time_of


@pytest.mark.parametrize("line", [b"", b"{", b"[1, 2]", b"3", b"null", b'"x"', b"\xff", b"\0", b"[" * 9999])
def test_what_is_no_object_is_no_line(line: bytes) -> None:
    assert parsed_line(line) is None
    assert parsed_line(b' {"step": 1}\r') == {"step": 1}


@pytest.mark.parametrize(
    "value", [None, "1", True, [1], math.nan, math.inf, -math.inf, 1.7e308, -1e101, 10**400, -(10**400)]
)
def test_what_cannot_be_computed_with_is_no_number(value: Any) -> None:
    assert number({"loss": value}, "loss") is None
    assert step_of({"step": value}) is None
    assert time_of({"time": value}) == 0.0


def test_numbers_and_steps_are_taken() -> None:
    line = {"step": 3, "loss": -2, "time": 1.5, "tiny": 5e-324, "large": 3e38}
    assert (step_of(line), number(line, "loss"), time_of(line)) == (3, -2.0, 1.5)
    assert (number(line, "tiny"), number(line, "large"), number({}, "loss")) == (5e-324, 3e38, None)
    steps = [step_of({"step": step}) for step in (0, MAX_STEP, MAX_STEP + 1, -1, 2.0)]
    assert steps == [0, MAX_STEP, None, None, None]

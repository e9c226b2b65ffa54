"""Lines of JSON-lines files and the numbers in them, which a person or another program may have written."""

from collections.abc import Mapping
from typing import Any

from mulan.config.parsing import parse_json

MAX_NUMBER = 1e100
"""Maximum absolute value of a number, far beyond what training writes: sums and products of such numbers are finite."""
MAX_STEP = 2**53
"""Maximum step: floats represent integers up to it."""


def parsed_line(line: bytes) -> dict[str, Any] | None:
    """Returns the JSON object in a line; None if it is damaged."""
    try:
        values = parse_json(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def number(values: Mapping[str, Any], key: str) -> float | None:
    """Returns a number of a line that can be computed with; None if there is none.

    Example:
        >>> number({"loss": 2}, "loss"), number({"loss": 1e308}, "loss"), number({"loss": "2"}, "loss")
        (2.0, None, None)
    """
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= MAX_NUMBER else None  # a comparison, which holds for integers of any size


def step_of(line: Mapping[str, Any]) -> int | None:
    """Returns the step of a line; None if it has none, or one that no run has.

    Example:
        >>> step_of({"step": 7}), step_of({"step": -7}), step_of({"step": True}), step_of({"step": 7.0})
        (7, None, None, None)
    """
    step = line.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step <= MAX_STEP else None


def time_of(line: Mapping[str, Any]) -> float:
    """Returns the Unix time of a line in seconds; 0 if it has none."""
    return number(line, "time") or 0.0

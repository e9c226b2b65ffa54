"""Comparable measurements: candidates take turns on the same machine, and all readings are kept."""

import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulan.config.errors import MulanError


class BenchmarkRefused(MulanError, ValueError):
    """The arguments of a benchmark are invalid."""


class BenchmarkFailed(MulanError, RuntimeError):
    """A measurement failed."""

    exit_code = 1


@dataclass(frozen=True)
class Figure:
    """Repeated measurements of one quantity."""

    values: tuple[float, ...]
    """Measured values, in order."""
    unit: str
    """Unit of the values."""

    @property
    def median(self) -> float:
        """Median of the values."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Minimum of the values."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Maximum of the values."""
        return max(self.values)


def interleaved(
    candidates: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    unit: str,
    on_reading: Callable[[str, int, float], None],
    another_round: Callable[[], bool] = lambda: True,
) -> dict[str, Figure]:
    """Measures every candidate once per round, in turn, so that slow periods of the machine affect all of them.

    The order is rotated in each round, so that side effects of a candidate (warm caches, a throttled clock) affect a
    different one each time.

    Args:
        candidates: Functions that take one measurement, by name.
        rounds: Maximum number of measurements of each candidate.
        unit: Unit of the measurements.
        on_reading: Called with the candidate, the round (from 1) and the value after each measurement.
        another_round: Called before each round but the first; the measurements end if it returns False.
    """
    names = list(candidates)
    readings: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        if number and not another_round():
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            readings[name].append(candidates[name]())
            on_reading(name, number + 1, readings[name][-1])
    return {name: Figure(tuple(values), unit) for name, values in readings.items()}


def ratios(numerator: Figure, denominator: Figure) -> Figure:
    """Returns the ratios round by round, in which drifts of the machine cancel."""
    assert numerator.unit == denominator.unit and len(numerator.values) == len(denominator.values)
    return Figure(tuple(a / b for a, b in zip(numerator.values, denominator.values, strict=True)), "x")


def in_fresh_process(module: str, arguments: Sequence[str], *, timeout_s: float) -> str:
    """Runs ``python -m MODULE ARGUMENTS`` and returns its standard output, unaffected by earlier measurements.

    Raises:
        BenchmarkFailed: The process failed; the message contains the end of its standard error.
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=timeout_s, cwd=root
    )
    if done.returncode:
        measured = textwrap.shorten(" ".join([module, *arguments]), 120)  # may contain a whole recipe
        raise BenchmarkFailed(f"{measured} failed: {done.stderr[-2000:]}")
    return done.stdout

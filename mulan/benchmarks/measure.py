"""Figures that can be compared: candidates take turns on the same machine, and each keeps all of its readings."""

import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulan.config.errors import MulanError


class BenchmarkRefused(MulanError, ValueError):
    """A reading that was asked for cannot be taken as it is described."""


class BenchmarkFailed(MulanError, RuntimeError):
    """A reading that could not be taken."""

    exit_code = 1


@dataclass(frozen=True)
class Figure:
    """Readings of one quantity."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def interleaved(
    candidates: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    unit: str,
    on_reading: Callable[[str, int, float], None],
) -> dict[str, Figure]:
    """Reads every candidate once a round, in turn, so that a slow minute of the machine meets all of them.

    The order is turned by one each round: what a candidate leaves behind (warm caches, a throttled clock) meets
    another one each time.

    Args:
        candidates: each takes one reading.
        on_reading: told the candidate, the round (from 1) and the reading.
    """
    names = list(candidates)
    readings: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            readings[name].append(candidates[name]())
            on_reading(name, number + 1, readings[name][-1])
    return {name: Figure(tuple(values), unit) for name, values in readings.items()}


def ratios(of: Figure, to: Figure) -> Figure:
    """Round by round, so that a drift of the machine cancels."""
    assert of.unit == to.unit and len(of.values) == len(to.values)
    return Figure(tuple(a / b for a, b in zip(of.values, to.values, strict=True)), "x")


def in_fresh_process(module: str, arguments: Sequence[str], *, timeout_s: float) -> str:
    """Standard output of ``python -m MODULE ARGUMENTS``: for readings that an earlier one would spoil.

    Raises:
        BenchmarkFailed: with the end of what it said.
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=timeout_s, cwd=root
    )
    if done.returncode:
        measured = textwrap.shorten(" ".join([module, *arguments]), 120)  # a whole recipe may be among them
        raise BenchmarkFailed(f"{measured} failed: {done.stderr[-2000:]}")
    return done.stdout

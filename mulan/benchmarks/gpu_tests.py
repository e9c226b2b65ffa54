"""The tests that need a GPU, run by pytest in a process of its own, and the numbers of their outcomes."""

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulan.benchmarks.measure import BenchmarkFailed
from mulan.benchmarks.timed_process import output_lines

TESTS = Path(__file__).parents[2] / "tests"
_MARK = "mark.gpu"
_OUTCOME = re.compile(r"\b(\d+) (passed|failed|skipped|deselected|error)")
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class GpuTestOutcomes:
    """The outcomes of a run of tests."""

    counts: Mapping[str, int]
    """Number of tests by outcome: ``passed``, ``failed``, ``skipped``, ``deselected``, ``error``."""
    reason: str
    """Why tests have failed or were not run; empty if all that were chosen have passed or were skipped."""


def marked_files(folder: Path = TESTS) -> list[Path]:
    """Returns the files of tests that are marked as needing a GPU.

    Other files are not collected: their libraries may not be installed beside the GPU.
    """
    files = sorted(folder.rglob("test_*.py"))
    return [file for file in files if _MARK in file.read_text(encoding="utf-8")]


def run_tests(files: Sequence[Path], expression: str, *, timeout_s: float) -> GpuTestOutcomes:
    """Runs the tests of some files that are marked by an expression of pytest, such as ``gpu and not processes``.

    Args:
        files: Files of tests whose ``conftest.py`` defines the option ``--gpu``.
        expression: Expression of marks.
        timeout_s: Time after which the tests are ended.
    """
    if importlib.util.find_spec("pytest") is None:
        return GpuTestOutcomes({}, "pytest is not installed")
    if not files:
        return GpuTestOutcomes({}, "no tests are installed")
    # pytest cuts the reasons of failures to the width of the terminal
    command = [
        "env",
        f"COLUMNS={_REASON_CHARACTERS}",
        sys.executable,
        "-m",
        "pytest",
        "--gpu",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        expression,
    ]
    lines: list[str] = []
    reason = ""
    try:
        lines.extend(output_lines([*command, *map(str, files)], timeout_s=timeout_s))
    except BenchmarkFailed as error:
        reason = str(error)
    named = [line.strip() for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return GpuTestOutcomes(outcomes_in(lines), ("; ".join(named) or reason)[:_REASON_CHARACTERS])


def outcomes_in(lines: Sequence[str]) -> dict[str, int]:
    """Returns the numbers in the last line of pytest's output; none if it has not ended.

    Example:
        >>> outcomes_in(["F.", "1 failed, 3 passed, 2 errors in 1.20s"])
        {'failed': 1, 'passed': 3, 'error': 2}
    """
    return {name: int(count) for count, name in _OUTCOME.findall(lines[-1])} if lines else {}

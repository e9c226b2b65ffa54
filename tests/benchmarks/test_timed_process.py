"""Tests processes whose lines are read while they run, with processes of a few lines of Python."""

import os
import sys
import time

import pytest

from mulan.benchmarks.measure import BenchmarkFailed
from mulan.benchmarks.timed_process import output_lines

pytestmark = pytest.mark.processes


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_are_yielded_while_the_process_runs() -> None:
    code = "import os; print('one', flush=True); print(os.read(0, 1) and 'two')"
    lines = output_lines(["sh", "-c", f'sleep 60 | {sys.executable} -c "{code}"'], timeout_s=60)
    assert next(lines) == "one\n"  # it waits for input that does not come
    lines.close()


def test_the_lines_before_a_failure_are_yielded_with_the_last_line_of_standard_error() -> None:
    lines = output_lines(python("print('one'); import sys; sys.exit('first\\nno memory\\n')"), timeout_s=60)
    assert next(lines) == "one\n"
    with pytest.raises(BenchmarkFailed, match=r"exit code 1: no memory$"):
        next(lines)
    assert list(output_lines(python("print('one')"), timeout_s=60)) == ["one\n"]


def test_a_process_that_is_not_finished_is_ended_with_those_that_it_started() -> None:
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    lines = output_lines(python(code), timeout_s=2)
    pid = int(next(lines))
    with pytest.raises(BenchmarkFailed, match="not finished in 2 s"):
        next(lines)
    for _ in range(200):  # init reaps it
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} still runs")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

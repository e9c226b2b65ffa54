"""Tests that the CPU time of processes is counted by what they do."""

import os
import subprocess
import sys
import time

import pytest

from mulan.benchmarks.process_cpu import DRIVER, RAY, READING, cpu_seconds, spent

BUSY = (
    "import time; begun = time.process_time()\nwhile time.process_time() - begun < {}: pass\nprint(flush=True); input()"
)


@pytest.mark.processes
def test_time_is_counted_by_the_kind_of_process() -> None:
    """Processes, since their times are what is read; one has the title that Ray gives to its readers."""
    before = cpu_seconds()
    children = [
        subprocess.Popen([name, "-c", BUSY.format(0.3)], executable=sys.executable, stdin=-1, stdout=-1)
        for name in ("ray::ReadGroups", "raylet")
    ]
    try:
        begun = time.process_time()
        while time.process_time() - begun < 0.1:
            pass
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        seconds = spent(before, cpu_seconds())
    finally:
        for child in children:
            child.communicate(b"\n")
    assert seconds[DRIVER] == pytest.approx(0.1, abs=0.08)
    assert 0.28 < seconds[READING] < 0.6 and 0.28 < seconds[RAY] < 0.6


def test_only_what_is_spent_between_two_readings_counts() -> None:
    here = (os.getpid(), 1)
    assert spent({here: (DRIVER, 3.0)}, {here: (DRIVER, 3.5), (1, 2): (RAY, 1.0), (2, 2): (RAY, 0.25)}) == {
        DRIVER: 0.5,
        RAY: 1.25,
    }

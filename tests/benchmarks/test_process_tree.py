"""Tests that the CPU time of processes of all kinds is measured completely."""

import json
import sys
import time

import pytest

from mulan.benchmarks.measure import BenchmarkFailed, in_fresh_process
from mulan.benchmarks.process_tree import PERIOD_S, ProcessReading

pytestmark = pytest.mark.processes

BURN = """
import os, signal, sys, time
command = os.getpid()
def outlive():
    while os.path.exists(f"/proc/{command}"):
        time.sleep(0.01)
    time.sleep(1)
def burn(seconds):
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass
def child(work):
    if not os.fork():
        work()
        os._exit(0)
"""


def read(program: str, *, exit_code: int = 0) -> ProcessReading:
    arguments = ["60", str(exit_code), sys.executable, "-c", BURN + program]
    return ProcessReading(**json.loads(in_fresh_process("mulan.benchmarks.process_tree", arguments, timeout_s=90)))


def test_processes_that_start_and_end_between_two_polls() -> None:
    """The kernel counts all that their parent waits for."""
    reading = read("[(child(lambda: burn(0.02)), os.wait()) for _ in range(20)]")
    assert 0.4 <= reading.cpu_s < 0.8


def test_children_whose_parent_ignores_their_exit() -> None:
    """The kernel does not add up their times. Ray's raylet is such a parent."""
    program = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(3):
    child(lambda: burn(0.5))
try:
    os.wait()
except ChildProcessError:
    pass
"""
    reading = read(program)
    assert 1.5 - 3 * 3 * PERIOD_S < reading.cpu_s < 2.0
    assert reading.processes == 4


def test_orphans_that_outlive_the_command() -> None:
    begun = time.monotonic()
    reading = read("child(lambda: (os.setsid(), child(lambda: (outlive(), burn(0.4)))))")
    assert 0.4 <= reading.cpu_s < 0.7
    assert reading.wall_s < time.monotonic() - begun - 1.4
    assert reading.processes == 3


def test_memory_of_all_processes_is_added_and_shared_memory_is_counted_once() -> None:
    program = """
shared = bytearray(os.urandom(100_000_000))
child(lambda: time.sleep(2))
child(lambda: (bytearray(os.urandom(50_000_000)), time.sleep(2)) if (own := bytearray(os.urandom(50_000_000))) else 0)
time.sleep(2)
"""
    assert 150 < read(program).peak_memory_mb < 300


def test_an_unexpected_exit_code_is_an_error() -> None:
    with pytest.raises(BenchmarkFailed, match=r"(?s)no such thing.*ended with 3, not with 0"):
        read("print('no such thing', file=sys.stderr)\nsys.exit(3)")

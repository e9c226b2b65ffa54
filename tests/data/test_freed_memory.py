"""Tests that a process keeps freed memory."""

import os
import subprocess
import sys

import pytest

from mulan.data.freed_memory import KEEP_FREED_MEMORY

PAGES_FAULTED = """
import resource, sys
from mulan.data.freed_memory import keep_freed_memory
if sys.argv[1] == "kept by a call":
    keep_freed_memory()
def fill():
    return [bytes(b"x" * 600_000) for _ in range(32)] + [bytes(b"x" * 50_000_000)]
fill()
begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
"""


def faults(mode: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in KEEP_FREED_MEMORY}
    if mode == "kept by the environment":
        environment |= KEEP_FREED_MEMORY
    command = [sys.executable, "-c", PAGES_FAULTED, mode]
    return int(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_memory_is_reused_for_the_next_micro_batch() -> None:
    """If the count without the settings decreases, the C library has changed and the settings can be removed."""
    given_back = faults("given back")
    assert faults("kept by a call") < 0.1 * given_back
    assert faults("kept by the environment") < 0.1 * given_back

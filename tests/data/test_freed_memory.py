"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

PAGES_FAULTED = """
import resource, sys
from mulan.data.freed_memory import keep_freed_memory
if sys.argv[1] == "kept":
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
    return int(subprocess.run([sys.executable, "-c", PAGES_FAULTED, mode], capture_output=True, check=True).stdout)


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_is_not_cleared_anew_for_every_micro_batch() -> None:
    """If the second count falls, the C library has changed its ways and the switch can go."""
    assert faults("kept") < 0.1 * faults("given back")

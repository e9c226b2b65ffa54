"""CPU time and memory of a command and all of its descendants, including daemons and short-lived processes.

``python -m mulan.benchmarks.process_tree TIMEOUT_S EXIT_CODE COMMAND ...`` runs a command, which must end with the
given exit code, and prints the measurement as a line of JSON. Linux only: the process adopts orphans, and reads times
from ``/proc``.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

PERIOD_S = 0.05
"""Polling period. CPU time after the last poll is lost for processes that no parent waits for."""

MEMORY_PERIOD_S = 0.5
"""Period at which memory is read, which takes the kernel longer than CPU times."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class ProcessReading:
    """Time and processes of a command."""

    wall_s: float
    """Wall time until the command itself ended, in seconds."""
    cpu_s: float
    """CPU time of all of its processes, in seconds."""
    processes: int
    """Number of processes that were observed."""
    exit_code: int
    """Exit code of the command."""
    peak_memory_mb: float
    """Maximum memory of all processes together in MB (10^6 bytes). Memory that several share is counted once."""


def measure(command: Sequence[str], *, timeout_s: float) -> ProcessReading:
    """Runs a command and waits until all of its descendants have ended; its output goes to standard error.

    It must be called in a process without other children.

    Raises:
        TimeoutError: Processes did not end in time and were killed.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become children of this process
    tree, begun = _Tree(), time.monotonic()
    command_id = subprocess.Popen(command, stdout=sys.stderr).pid
    wall_s, exit_code, peak_kb, memory_read = 0.0, 0, 0, 0.0
    with suppress(ChildProcessError):  # raised if no children are left
        while True:
            alive = tree.poll()
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == command_id:
                    wall_s, exit_code = time.monotonic() - begun, os.waitstatus_to_exitcode(ended[1])
            if time.monotonic() - memory_read >= MEMORY_PERIOD_S:
                peak_kb, memory_read = max(peak_kb, sum(map(_proportional_kb, alive))), time.monotonic()
            if time.monotonic() - begun > timeout_s:
                for process_id in alive:
                    with suppress(ProcessLookupError):
                        os.kill(process_id, signal.SIGKILL)
                raise TimeoutError(f"{' '.join(command)} was still running after {timeout_s:g} s")
            time.sleep(PERIOD_S)
    tree.poll()
    return ProcessReading(wall_s, tree.cpu_s, tree.processes, exit_code, peak_kb * 1024 / 1e6)


def _proportional_kb(process_id: int) -> int:
    """Returns the memory of a process in KiB, with its part of memory that it shares; 0 if the process has ended."""
    with suppress(OSError), open(f"/proc/{process_id}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


@dataclass
class _Process:
    """CPU times of a process in clock ticks."""

    own: int = 0
    """CPU time at the last poll."""
    waited_for: int = 0
    """CPU time of ended descendants that were waited for."""
    children: list["_Process"] = field(default_factory=list)
    """Processes that it started, as far as they were observed."""

    def ticks_of_children(self) -> int:
        """Returns the CPU time of all descendants.

        The kernel does not count children whose parent ignores their exit, as Ray's raylet does, and polls miss
        short-lived processes. The larger of both values is used.
        """
        return max(self.waited_for, sum(child.own + child.ticks_of_children() for child in self.children))


class _Tree:
    """The descendants of this process, as far as they were observed."""

    def __init__(self) -> None:
        self._here = _Process()
        self._seen: dict[tuple[int, int], _Process] = {}
        """Processes by PID and start time, since PIDs are reused."""

    @property
    def cpu_s(self) -> float:
        return self._here.ticks_of_children() / _TICKS_PER_S

    @property
    def processes(self) -> int:
        return len(self._seen)

    def poll(self) -> list[int]:
        """Records the times of all descendants, and returns the PIDs of those that are running."""
        table: dict[int, list[str]] = {}
        numbers: dict[int, list[int]] = defaultdict(list)
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                with suppress(FileNotFoundError, ProcessLookupError):  # the process has just ended
                    with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                        fields = file.read().rpartition(")")[2].split()  # the name before it may contain spaces
                    table[int(entry)] = fields
                    numbers[int(fields[1])].append(int(entry))
        return self._note(os.getpid(), self._here, table, numbers)

    def _note(
        self, number: int, process: _Process, table: Mapping[int, Sequence[str]], numbers: Mapping[int, Sequence[int]]
    ) -> list[int]:
        """Records the times of a process and its descendants; ``numbers`` contains the children of each PID."""
        times = [int(ticks) for ticks in table[number][11:15]]
        process.own, process.waited_for = sum(times[:2]), sum(times[2:])
        pids = []
        for child_number in numbers.get(number, ()):
            key = child_number, int(table[child_number][19])
            if key not in self._seen:
                self._seen[key] = _Process()
                process.children.append(self._seen[key])
            pids += [child_number, *self._note(child_number, self._seen[key], table, numbers)]
        return pids


if __name__ == "__main__":
    _, timeout, expected, *command_line = sys.argv
    taken = measure(command_line, timeout_s=float(timeout))
    if taken.exit_code != int(expected):
        sys.exit(f"{' '.join(command_line)} ended with {taken.exit_code}, not with {expected}")
    print(json.dumps(asdict(taken)))

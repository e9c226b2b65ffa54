"""CPU time of a command and of all that it starts, daemons and processes that end in between included.

``python -m mulan.benchmarks.process_tree TIMEOUT_S EXIT_CODE COMMAND ...`` runs a command, which must end with that
exit code, and prints its reading as a line of JSON. Linux only: orphans are taken over, and times are read in
``/proc``.
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
"""Between two looks. What a process does after the last look at it is lost where nobody waits for its end."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class ProcessReading:
    """What a command took."""

    wall_s: float
    """Seconds until the command itself ended."""
    cpu_s: float
    """CPU seconds of all its processes, until the last of them ended."""
    processes: int
    """How many processes were seen."""
    exit_code: int


def measure(command: Sequence[str], *, timeout_s: float) -> ProcessReading:
    """Runs a command and waits until all that it started has ended. What it says goes to standard error.

    To be called in a process that has no other children.

    Raises:
        TimeoutError: some of it did not end, and was killed.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what becomes an orphan becomes a child of this one
    tree, begun = _Tree(), time.monotonic()
    command_id = subprocess.Popen(command, stdout=sys.stderr).pid
    wall_s, exit_code = 0.0, 0
    with suppress(ChildProcessError):  # which says that nothing is left
        while True:
            alive = tree.look()
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == command_id:
                    wall_s, exit_code = time.monotonic() - begun, os.waitstatus_to_exitcode(ended[1])
            if time.monotonic() - begun > timeout_s:
                for process_id in alive:
                    with suppress(ProcessLookupError):
                        os.kill(process_id, signal.SIGKILL)
                raise TimeoutError(f"{' '.join(command)} was still at work after {timeout_s:g} s")
            time.sleep(PERIOD_S)
    tree.look()
    return ProcessReading(wall_s, tree.cpu_s, tree.processes, exit_code)


@dataclass
class _Process:
    own: int = 0
    """Ticks of CPU time at the last look."""
    waited_for: int = 0
    """Ticks of the ended children that it waited for, and of those that these waited for."""
    children: list["_Process"] = field(default_factory=list)

    def ticks_of_children(self) -> int:
        """Ticks of CPU time of all processes below this one.

        The kernel forgets a child whose parent ignores its end, as Ray's raylet does; looks miss what comes and goes in
        between. Whichever knows more is taken.
        """
        return max(self.waited_for, sum(child.own + child.ticks_of_children() for child in self.children))


class _Tree:
    """The processes below this one, as far as they have been seen."""

    def __init__(self) -> None:
        self._here = _Process()
        self._seen: dict[tuple[int, int], _Process] = {}
        """Processes by number and time of start: numbers are given anew."""

    @property
    def cpu_s(self) -> float:
        return self._here.ticks_of_children() / _TICKS_PER_S

    @property
    def processes(self) -> int:
        return len(self._seen)

    def look(self) -> list[int]:
        """Notes the times of all; the numbers of those that are there."""
        table: dict[int, list[str]] = {}
        numbers: dict[int, list[int]] = defaultdict(list)
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                        fields = file.read().rpartition(")")[2].split()  # the name before it may hold spaces
                    table[int(entry)] = fields
                    numbers[int(fields[1])].append(int(entry))
        return self._note(os.getpid(), self._here, table, numbers)

    def _note(
        self, number: int, process: _Process, table: Mapping[int, Sequence[str]], numbers: Mapping[int, Sequence[int]]
    ) -> list[int]:
        """Notes the times of one process and of all below it; ``numbers`` has the children of each."""
        times = [int(ticks) for ticks in table[number][11:15]]
        process.own, process.waited_for = sum(times[:2]), sum(times[2:])
        found = []
        for child_number in numbers.get(number, ()):
            key = child_number, int(table[child_number][19])
            if key not in self._seen:
                self._seen[key] = _Process()
                process.children.append(self._seen[key])
            found += [child_number, *self._note(child_number, self._seen[key], table, numbers)]
        return found


if __name__ == "__main__":
    _, timeout, expected, *command_line = sys.argv
    taken = measure(command_line, timeout_s=float(timeout))
    if taken.exit_code != int(expected):
        sys.exit(f"{' '.join(command_line)} ended with {taken.exit_code}, not with {expected}")
    print(json.dumps(asdict(taken)))

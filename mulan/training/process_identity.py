"""Which process this is among all machines and containers, so that another one there can tell that it has ended."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATE, _STARTED = 0, 19
"""Places in ``/proc/PID/stat`` behind the program's name, as proc_pid_stat(5) counts them from the third."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by its number, and by what makes the number unique."""

    host: str
    pid: int
    machine: str
    """The boot and the PID namespace in which the number holds; empty where the system tells neither."""
    started: int
    """Clock ticks from the boot to the process's start: numbers are used again."""

    @classmethod
    def of_this_one(cls) -> "ProcessIdentity":
        """The process that calls."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _machine(), int((_status(pid) or {}).get("started", 0)))

    def has_ended(self) -> bool:
        """Whether it is known to have ended; False of one of another machine or container."""
        if not self.machine or (self.host, self.machine) != (socket.gethostname(), _machine()):
            return False
        status = _status(self.pid)
        if status is None:  # not there, or another user's, of whom this system may tell nothing
            return not _is_there(self.pid)
        return status["state"] in "ZX" or status["started"] != str(self.started)


def _machine() -> str:
    with suppress(OSError):  # a system without /proc
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return ""


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _status(pid: int) -> dict[str, str] | None:
    """Returns what the system tells of a process, or None where it tells nothing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return {"state": fields[_STATE], "started": fields[_STARTED]}

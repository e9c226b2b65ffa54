"""A clean stop of a run or sweep, requested from anywhere that can write to its folder.

The request is a file beside the lease that it is addressed to, ``lease/GENERATION.stop.json``: only the driver that
held the lease at the time of the request heeds it, so it never stops a later one. The workers save a checkpoint and
end; the same command resumes the run.
"""

import getpass
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from mulan.config.errors import STOPPED, MulanError
from mulan.config.parsing import parse_json
from mulan.runs.lease import Fence
from mulan.runs.lease_files import LeaseFile
from mulan.storage import filesystem

LOCAL_PERIOD_S, REMOTE_PERIOD_S = 1.0, 5.0
"""Times between two looks for a request, on a disk and in other storage, where each is a listing."""
_MAX_CHARACTERS = 100

log = logging.getLogger(__name__)


class RunStopped(MulanError):
    """Raised when a run or sweep ended because somebody asked it to; the same command resumes it."""

    exit_code = STOPPED


@dataclass(frozen=True)
class StopRequest:
    """A request to stop a run or sweep."""

    by: str
    """Who asked, as ``USER on HOST``; anyone who can write to the folder may have written it."""
    time: float
    """When, as a Unix time in seconds by the clock of that host."""

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.time))
        return f"requested by {self.by} at {when}"


def request_stop(uri: str, lease: LeaseFile) -> None:
    """Asks the driver that holds a lease to stop.

    Args:
        uri: Folder of the run or sweep.
        lease: Its newest lease file, which has a holder.

    Raises:
        StorageError: The request could not be written.
    """
    assert lease.holder is not None, "the driver is unknown"
    content = {"driver": lease.holder.driver, "by": f"{_user()} on {socket.gethostname()}", "time": time.time()}
    filesystem.write_atomically(_request_uri(uri, lease.generation), json.dumps(content).encode())


def stop_request(uri: str, generation: int, driver: str) -> StopRequest | None:
    """Returns the request to stop that is addressed to a driver; None if there is none.

    Args:
        uri: Folder of the run or sweep.
        generation: Generation of the driver's lease.
        driver: Id of the driver.

    Raises:
        StorageError: The storage does not respond.
    """
    where = _request_uri(uri, generation)
    folder, _, name = where.rpartition("/")
    # listed instead of looked up by name: an NFS client caches that a name does not exist
    if name not in filesystem.names_in(folder):
        return None
    try:
        content = parse_json(filesystem.read_bytes(where))
        if content["driver"] != driver:
            return None
        by = filesystem.printable(str(content["by"]))[:_MAX_CHARACTERS]
        moment = float(content["time"])
        time.gmtime(moment)  # a time that can be shown
        return StopRequest(by, moment)
    # not one of ours, or still being written
    except (ValueError, TypeError, KeyError, OverflowError, FileNotFoundError):
        return None


def stop_request_to(fences: Sequence[Fence]) -> StopRequest | None:
    """Returns a request to stop that is addressed to one of several drivers: of a run, and of the sweep it belongs to.

    Raises:
        StorageError: The storage does not respond.
    """
    return next((found for each in fences if (found := stop_request(each.uri, each.generation, each.driver))), None)


class StopWatch(AbstractContextManager["StopWatch"]):
    """Looks for a request to stop in a thread, for as long as the context lasts."""

    def __init__(self, fences: Sequence[Fence], *, on_request: Callable[[StopRequest], None]) -> None:
        """
        Args:
            fences: Fences of the drivers that may be asked to stop: of the run and, for a trial, of its sweep.
            on_request: Called once with the request, in the thread.
        """
        self._fences, self._on_request = fences, on_request
        self._period_s = LOCAL_PERIOD_S if all(filesystem.is_local(each.uri) for each in fences) else REMOTE_PERIOD_S
        self._requested, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)

    def __enter__(self) -> "StopWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=self._period_s)  # it may be waiting for storage that does not answer

    @property
    def is_requested(self) -> bool:
        """Whether a request has been found; never waits."""
        return self._requested.is_set()

    def _watch(self) -> None:
        answers = True
        while True:
            request = None
            try:
                request = stop_request_to(self._fences)
                answers = True
            except (OSError, MulanError) as error:  # a mere look must not end the run
                if answers:  # once for each time that the storage fails
                    log.warning("cannot see whether %s is asked to stop: %s", self._fences[0].uri, error)
                answers = False
            if request is not None:
                self._on_request(request)
                self._requested.set()
                return
            if self._ended.wait(self._period_s):
                return


def _request_uri(uri: str, generation: int) -> str:
    return filesystem.join(uri, "lease", f"{generation:09d}.stop.json")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return f"user {os.getuid()}"

"""A lease on a run's folder, which ensures that the run has a single driver and fences off one that has lost the lease.

The holder of a lease is considered alive while its file keeps changing. Clocks are never compared, and only processes
of this machine are known immediately to have ended. Every write to the run's folder is preceded by a check of the
:class:`Fence`: a driver that was cut off for long enough detects that another one has taken over the run, and stops.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mulan.config.errors import MulanError
from mulan.runs.lease_files import Holder, LeaseFile, ProcessIdentity, create, file_uri, newest
from mulan.storage import filesystem


class RunHeld(MulanError):
    """Raised when the run or sweep has another driver, which is alive."""


class RunTakenOver(MulanError):
    """Raised when another driver has taken over the run or sweep, so that this one must stop writing."""


RENEWAL_PERIOD_S = 10.0
STALE_AFTER_S = 60.0
"""Time without a change after which a lease is taken over: enough for several renewals and retries."""
POLL_PERIOD_S = 2.0
RELEASE_TIMEOUT_S = 10.0
"""Timeout for releasing the lease at the end; if storage fails for longer, the lease becomes stale."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fence:
    """Allows processes that write for a driver, on any machine, to check that the driver still holds the lease."""

    uri: str
    """The run's folder."""
    generation: int
    driver: str

    def check(self) -> None:
        """Checks that no other driver has taken over the run.

        Raises:
            RunTakenOver: Another driver has taken over the run.
            StorageError: The storage does not respond.
        """
        seen = newest(_folder(self.uri))
        if seen is not None and seen.holder is not None and seen.holder.driver == self.driver:
            return
        by = f"was taken over by {seen.describe()}" if seen else "has lost its lease: its folder was removed"
        raise RunTakenOver(
            f"{self.uri} {by}; this driver (generation {self.generation}) writes nothing more into it. A run is taken "
            f"over when its driver does not renew its lease for {STALE_AFTER_S:g} s: let the other driver continue, or "
            "stop it and run the same command again"
        )


@contextmanager
def hold_lease(
    uri: str,
    *,
    progress: Callable[[], str] = lambda: "",
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Fence]:
    """Holds the lease of a run or sweep during the block.

    Waits up to :data:`STALE_AFTER_S` while it is unknown whether another driver is alive.

    Args:
        uri: Folder of the run or sweep.
        progress: Returns a description of the run's progress, for the error of a driver that is refused.
        clock: Returns the time in seconds, while another driver's lease is watched.
        pause: Sleeps for a number of seconds between two looks at the lease.

    Raises:
        RunHeld: Another driver holds the lease and is alive.
        StorageError: The folder cannot be read or written.
    """
    generation, holder = _acquire(uri, progress, clock, pause)
    fence = Fence(uri, generation, holder.driver)
    renewal = _Renewal(fence, holder)
    renewal.start()
    try:
        yield fence
    finally:
        renewal.end()


def _acquire(
    uri: str, progress: Callable[[], str], clock: Callable[[], float], pause: Callable[[float], None]
) -> tuple[int, Holder]:
    folder = _folder(uri)
    first = seen = newest(folder)
    polled, unchanged_s = clock(), 0.0
    while True:
        if seen is None or _is_free(seen) or unchanged_s >= STALE_AFTER_S:
            generation, mine = 1 if seen is None else seen.generation + 1, Holder(ProcessIdentity.current())
            create(file_uri(folder, generation), mine.content())
            seen = newest(folder)  # decides, because the response to the write may have been lost
            if seen is not None and seen.holder is not None and seen.holder.driver == mine.driver:
                return seen.generation, mine
        if seen is not None and seen != first and not _is_free(seen):
            raise _held_error(uri, seen, progress)
        if seen is not None and seen == first and not unchanged_s:
            log.warning(
                "%s: the lease of %s was not released; checking for up to %g s whether that driver is alive",
                *(uri, seen.describe(), STALE_AFTER_S),
            )
        pause(POLL_PERIOD_S)
        seen, now = newest(folder), clock()
        # while storage is unavailable, the holder cannot renew its lease either
        unchanged_s += min(now - polled, 2 * POLL_PERIOD_S)
        polled = now


def _is_free(seen: LeaseFile) -> bool:
    """Returns whether the lease was released or its holder is known to have ended."""
    return seen.holder is not None and (seen.holder.released or seen.holder.process.has_ended())


def _held_error(uri: str, seen: LeaseFile, progress: Callable[[], str]) -> RunHeld:
    try:
        reached = progress()
    except (OSError, MulanError):  # the error is clear without it
        reached = ""
    return RunHeld(
        f"{uri} has a driver already: {seen.describe()}{reached and f', {reached}'}; let it continue, or stop it and "
        "run the same command again; for another run, choose another --name"
    )


class _Renewal:
    """Renews a lease in a thread until :meth:`end`, which releases it."""

    def __init__(self, fence: Fence, holder: Holder) -> None:
        self._fence, self._holder = fence, holder
        self._stop = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(timeout=RELEASE_TIMEOUT_S)
        if not self._thread.is_alive() and not self._is_lost:
            with suppress(MulanError, OSError):
                self._write(released=True)

    def _renew(self) -> None:
        while not self._stop.wait(RENEWAL_PERIOD_S):
            try:
                self._write()
            except RunTakenOver as error:  # the workers detect it as well, before they write
                self._is_lost = True
                log.error("%s", error)
                return
            # whatever the error: if the thread ended, a live driver would lose its lease
            except Exception as error:
                log.warning("the lease of %s could not be renewed: %s", self._fence.uri, error)

    def _write(self, *, released: bool = False) -> None:
        self._fence.check()
        self._holder = self._holder.renewal(released=released)
        uri = file_uri(_folder(self._fence.uri), self._fence.generation)
        filesystem.write_atomically(uri, self._holder.content())


def _folder(uri: str) -> str:
    return filesystem.join(uri, "lease")

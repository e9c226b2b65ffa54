"""One driver a run: a lease on its folder, with a generation that fences off a driver which has lost it.

Whether a holder is alive is seen by watching its file change, never by comparing clocks; only a process of this machine
is known to have ended at once. Whoever writes into the run's folder asks its :class:`Fence` before: a driver that was
cut off for long enough finds that another one has the run, and stops.
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
    """A run, or a sweep, that another driver has, which is alive."""


class RunTakenOver(MulanError):
    """A run, or a sweep, that another driver has taken since; this one must write nothing more."""


RENEWAL_PERIOD_S = 10.0
STALE_AFTER_S = 60.0
"""A lease that does not change for so long is taken: that is several renewals, and the pauses of failing storage."""
POLL_PERIOD_S = 2.0
RELEASE_TIMEOUT_S = 10.0
"""Storage that fails for longer at the end is not waited for, and the lease goes stale."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fence:
    """Tells whoever writes for a driver, on any machine, whether that driver still has the run."""

    uri: str
    """The run's folder."""
    generation: int
    driver: str

    def check(self) -> None:
        """Makes sure that no other driver has taken the run.

        Raises:
            RunTakenOver: one has.
            StorageError: that cannot be known now.
        """
        seen = newest(_folder(self.uri))
        if seen is not None and seen.holder is not None and seen.holder.driver == self.driver:
            return
        by = f"was taken over by {seen.describe()}" if seen else "has lost its lease: its folder was removed"
        raise RunTakenOver(
            f"{self.uri} {by}; this driver (generation {self.generation}) writes nothing more into it. A run is taken "
            f"over when its driver does not renew its lease for {STALE_AFTER_S:g} s: let the other one go on, or end "
            "it and give the same command again"
        )


@contextmanager
def hold_lease(
    uri: str,
    *,
    progress: Callable[[], str] = lambda: "",
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Fence]:
    """Holds the lease of a run, or of a sweep, while the block lasts.

    Waits while it is not known whether another driver is alive: no longer than :data:`STALE_AFTER_S`.

    Args:
        uri: its folder.
        progress: how far it has come, in words, for the driver that is refused.
        clock, pause: of whoever watches another driver's lease.

    Raises:
        RunHeld: another driver has it and is alive.
        StorageError: the folder cannot be read or written.
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
    looked, unchanged_s = clock(), 0.0
    while True:
        if seen is None or _is_free(seen) or unchanged_s >= STALE_AFTER_S:
            generation, mine = 1 if seen is None else seen.generation + 1, Holder(ProcessIdentity.of_this_one())
            create(file_uri(folder, generation), mine.content())
            seen = newest(folder)  # what it says counts: the answer to what was written may have been lost
            if seen is not None and seen.holder is not None and seen.holder.driver == mine.driver:
                return seen.generation, mine
        if seen is not None and seen != first and not _is_free(seen):
            raise _refusal(uri, seen, progress)
        if seen is not None and seen == first and not unchanged_s:
            log.warning(
                "%s: the lease of %s was not given back; whether that driver is alive is seen within %g s",
                *(uri, seen.describe(), STALE_AFTER_S),
            )
        pause(POLL_PERIOD_S)
        seen, now = newest(folder), clock()
        # storage that was not there for a while says nothing of a holder, who could not renew meanwhile either
        unchanged_s += min(now - looked, 2 * POLL_PERIOD_S)
        looked = now


def _is_free(seen: LeaseFile) -> bool:
    """Whether its driver is known to do nothing more."""
    return seen.holder is not None and (seen.holder.released or seen.holder.process.has_ended())


def _refusal(uri: str, seen: LeaseFile, progress: Callable[[], str]) -> RunHeld:
    try:
        told = progress()
    except (OSError, MulanError):  # what is refused is clear without it
        told = ""
    return RunHeld(
        f"{uri} has a driver already: {seen.describe()}{told and f', {told}'}; let that one go on, or end it and give "
        "the same command again; another run takes another --name"
    )


class _Renewal:
    """Renews a lease in a thread until it is ended, and then gives it back."""

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
            except RunTakenOver as error:  # the workers find it out as well, before they write
                self._is_lost = True
                log.error("%s", error)
                return
            # whatever it is: a thread that ended would lose the lease of a driver that lives
            except Exception as error:
                log.warning("the lease of %s could not be renewed: %s", self._fence.uri, error)

    def _write(self, *, released: bool = False) -> None:
        self._fence.check()
        self._holder = self._holder.renewal(released=released)
        uri = file_uri(_folder(self._fence.uri), self._fence.generation)
        filesystem.write_atomically(uri, self._holder.content())


def _folder(uri: str) -> str:
    return filesystem.join(uri, "lease")

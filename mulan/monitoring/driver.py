"""The driver of a run as its lease shows it, and whether it is alive."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from mulan.runs.lease import STALE_AFTER_S
from mulan.runs.lease_files import LeaseFile, file_uri
from mulan.runs.stop import StopRequest, stop_request
from mulan.storage import filesystem
from mulan.storage.listing import entries_in


@dataclass(frozen=True)
class Driver:
    """The newest driver of a run or sweep."""

    lease: LeaseFile
    """Its lease."""
    age_s: float
    """Seconds since it was renewed, by the clocks of the storage and of this machine."""
    asked_to_stop: StopRequest | None = None
    """The request to stop that is addressed to it."""

    @property
    def has_released(self) -> bool:
        """Whether it has ended in order."""
        return self.lease.holder is not None and self.lease.holder.released

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended: in order, or as a process of this machine that is gone."""
        return self.has_released or (self.lease.holder is not None and self.lease.holder.process.has_ended())

    @property
    def is_alive(self) -> bool:
        """Whether it has renewed its lease within the time after which another driver takes over.

        Clocks that differ by more than that make this wrong, in contrast to :class:`LeaseWatch`.
        """
        return not self.has_ended and self.age_s < STALE_AFTER_S

    @property
    def since(self) -> float | None:
        """Start of its lease as a Unix time in seconds, by its own clock; None if it is just starting."""
        return None if self.lease.holder is None else self.lease.holder.since

    def describe(self) -> str:
        """Returns process, host and start in words that can be printed."""
        return filesystem.printable(self.lease.describe())[:200]


def newest_driver(run_uri: str) -> Driver | None:
    """Returns the newest driver of a run or sweep; None if it never had one.

    Raises:
        StorageError: The storage does not respond.
    """
    folder = filesystem.join(run_uri, "lease")
    entries = entries_in(folder)
    names = [name for name in entries if re.fullmatch(r"\d{9}\.json", name)]
    if not names:
        return None
    generation = int(max(names).removesuffix(".json"))
    try:
        lease = LeaseFile(generation, filesystem.read_bytes(file_uri(folder, generation)))
    except FileNotFoundError:  # the run's folder is being removed
        return None
    holder, modified = lease.holder, entries[max(names)].modified
    renewed = modified if modified is not None else holder.renewed if holder else 0.0
    has_request = holder is not None and f"{generation:09d}.stop.json" in entries
    request = stop_request(run_uri, generation, holder.driver) if holder and has_request else None
    return Driver(lease, time.time() - renewed, request)


class LeaseWatch:
    """Observes whether a driver is alive by the changes of its lease, without comparing clocks."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: returns the time in seconds."""
        self._clock, self._content, self._changed_s = clock, b"", clock()

    def is_alive(self, driver: Driver) -> bool:
        """Returns whether the driver has not ended and its lease has changed within :data:`STALE_AFTER_S`.

        The first look counts as a change, so a driver that is gone is noticed that much later.
        """
        if driver.lease.content != self._content:
            self._content, self._changed_s = driver.lease.content, self._clock()
        return not driver.has_ended and self._clock() - self._changed_s < STALE_AFTER_S

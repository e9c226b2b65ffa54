"""Stops a run or sweep from anywhere that can write to its folder, and waits until it has ended."""

import time
from collections.abc import Callable

from mulan.config.errors import MulanError
from mulan.monitoring.driver import Driver, LeaseWatch, newest_driver
from mulan.runs.lease import STALE_AFTER_S
from mulan.runs.lease_files import file_uri
from mulan.runs.stop import request_stop
from mulan.storage import filesystem

LOCAL_PERIOD_S, REMOTE_PERIOD_S = 0.5, 3.0
"""Times between two looks at the lease, on a disk and in other storage."""


class NoDriver(MulanError):
    """Raised if there is nothing to stop."""


class StillRunning(MulanError):
    """Raised if a run has not ended in time after it was asked to stop. The request remains."""

    exit_code = 1


class NotAsked(MulanError):
    """Raised if a driver could not be asked to stop in time, because its lease cannot be read."""

    exit_code = 1


def stop_and_wait(
    uri: str,
    *,
    timeout_s: float,
    on_request: Callable[[Driver], None] = lambda driver: None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Asks the driver of a run or sweep to stop, and waits until it has released its lease or has ended otherwise.

    Args:
        uri: Folder of the run or sweep.
        timeout_s: Maximum time in seconds to wait, also for a lease that is being written; 0 returns after the
            request.
        on_request: Called with the driver once it has been asked.
        clock: Returns the time in seconds.
        pause: Sleeps for a number of seconds.

    Raises:
        NoDriver: The run has no driver that is alive.
        NotAsked: Its lease could not be read in time.
        StillRunning: The driver has not ended in time.
        StorageError: The storage does not respond.
    """
    period_s = LOCAL_PERIOD_S if filesystem.is_local(uri) else REMOTE_PERIOD_S
    deadline_s, watch = clock() + timeout_s, LeaseWatch(clock=clock)
    driver = _driver(uri)
    while driver.lease.holder is None:  # it is just writing its lease
        if not watch.is_alive(driver):
            raise NoDriver(f"{uri} has a lease that no driver holds; there is nothing to stop")
        if clock() >= deadline_s:
            raise NotAsked(
                f"{uri} was not asked to stop: its newest lease, {_lease_uri(uri, driver)}, could not be read within "
                f"{timeout_s:g} s; its driver is just writing it, or it is damaged; try again with a longer --timeout"
            )
        pause(period_s)
        driver = _driver(uri)
    request_stop(uri, driver.lease)
    on_request(driver)
    generation = driver.lease.generation
    while timeout_s > 0:
        now = newest_driver(uri)
        if now is None or now.lease.generation != generation or now.has_ended:
            return
        if not watch.is_alive(now):
            raise NoDriver(
                f"{uri} has no driver that is alive: {now.describe()} has not renewed its lease for "
                f"{STALE_AFTER_S:g} s; there is nothing to stop"
            )
        if clock() >= deadline_s:
            raise StillRunning(
                f"{uri} has not ended within {timeout_s:g} s; the request remains, and the run stops after its next "
                "step, or within a minute if it waits for workers"
            )
        pause(period_s)


def _lease_uri(uri: str, driver: Driver) -> str:
    return file_uri(filesystem.join(uri, "lease"), driver.lease.generation)


def _driver(uri: str) -> Driver:
    driver = newest_driver(uri)
    if driver is None:
        raise NoDriver(f"{uri} has no driver; there is nothing to stop")
    if driver.has_ended:
        raise NoDriver(f"{uri} has no driver: {driver.describe()}, has ended; there is nothing to stop")
    return driver

"""Trials that end give back what they had reserved."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mulan.private_ray.placement_groups import give_back

LOOK_PERIOD_S = 1.0

log = logging.getLogger(__name__)


@contextmanager
def given_back() -> Iterator[None]:
    """Gives back, within seconds, what actors of this job leave reserved while the block lasts.

    Ray Train's own way is an actor for each run, which asks the dashboard whether the run's controller lives: it finds
    out nothing where there is no dashboard, or another Ray on the same machine.
    """
    stop = threading.Event()
    watcher = threading.Thread(target=_give_back_until, args=(stop,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _give_back_until(stop: threading.Event) -> None:
    while not stop.wait(LOOK_PERIOD_S):
        try:
            give_back()
        except Exception as error:  # a head that does not answer for a while; it is asked again
            log.debug("reservations cannot be looked at: %s", error)

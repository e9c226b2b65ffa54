"""The trackers of a run while its driver trains it."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mulan.config.recipe import Recipe
from mulan.runs.lease import Fence
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped
from mulan.tracking.feed import OpenTracker, TrackerFeed
from mulan.tracking.registry import open_tracker
from mulan.tracking.tracker import Outcome

END_TIMEOUT_S = 30.0
"""Time that the end of training waits for all trackers together."""
SILENCE_S = 120.0
"""Time without an answer after which a tracker is reported."""
_CHECK_PERIOD_S = 5.0

log = logging.getLogger(__name__)


@contextmanager
def follow_run(
    run: Run, recipe: Recipe, fence: Fence | None = None, *, open_tracker: OpenTracker = open_tracker
) -> Iterator[None]:
    """Sends the metrics of a run to the trackers of its recipe during the block, from the files of the run's folder.

    A tracker that hangs or fails is reported in one line and neither delays training nor the other trackers; the end of
    the block waits for at most :data:`END_TIMEOUT_S`.

    Args:
        run: The run.
        recipe: Its recipe.
        fence: Fence of the driver; None if it holds no lease.
        open_tracker: Opens a tracker.
    """
    feeds = [TrackerFeed(name, run, recipe, fence, open_tracker=open_tracker) for name in recipe.logging.trackers]
    if not feeds:
        yield
        return
    for feed in feeds:
        feed.start()
    ended = threading.Event()
    watch = threading.Thread(target=_report_silence, args=(feeds, ended), name="trackers", daemon=True)
    watch.start()
    outcome: Outcome = "finished"
    try:
        yield
    except RunStopped:
        outcome = "killed"
        raise
    except Exception:
        outcome = "failed"
        raise
    except BaseException:  # SIGINT, SIGTERM
        outcome = "killed"
        raise
    finally:
        ended.set()
        _end(feeds, outcome)


def _end(feeds: Sequence[TrackerFeed], outcome: Outcome) -> None:
    for feed in feeds:
        feed.stop(outcome)
    deadline = time.monotonic() + END_TIMEOUT_S
    for feed in feeds:
        if not feed.join(deadline - time.monotonic()):
            log.warning(
                "tracker %s is given up, since it has not answered for %.0f s; it may lack steps after %d",
                *(feed.name, feed.busy_s(), feed.last_step()),
            )


def _report_silence(feeds: Sequence[TrackerFeed], ended: threading.Event) -> None:
    silent: set[str] = set()
    while not ended.wait(_CHECK_PERIOD_S):
        for feed in feeds:
            if feed.busy_s() < SILENCE_S:
                silent.discard(feed.name)
            elif feed.name not in silent:
                log.warning("tracker %s has not answered for %.0f s; training goes on", feed.name, feed.busy_s())
                silent.add(feed.name)

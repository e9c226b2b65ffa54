"""The thread that sends a run's metrics to one tracker, apart from training and from the other trackers."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mulan.config.paths import redacted
from mulan.config.recipe import Recipe
from mulan.runs.lease import Fence, RunTakenOver
from mulan.runs.run import Run
from mulan.storage.filesystem import is_local
from mulan.storage.jsonl import JsonLinesTail
from mulan.storage.line_values import step_of, time_of
from mulan.tracking.identity import TrackedRun, read_identity, write_identity
from mulan.tracking.registry import open_tracker
from mulan.tracking.scalars import step_scalars
from mulan.tracking.tracker import Outcome, StepScalars, Tracker, describe_failure

OpenTracker = Callable[..., Tracker]
"""A function with the arguments of :func:`mulan.tracking.registry.open_tracker`."""

_PERIOD_S, _REMOTE_PERIOD_S = 5.0, 15.0
"""Time between two looks at the run's files, on local storage and elsewhere."""
RETRY_PERIOD_S = 60.0
"""Time after which a tracker that raised an error is tried again."""
_STEPS_AT_ONCE = 500
_MAX_EVENTS = 100
"""Maximum number of events that wait for a tracker; older ones are dropped."""

log = logging.getLogger(__name__)


class TrackerFeed:
    """Sends the steps and events of a run to a tracker, in a thread of its own.

    ``metrics.jsonl`` is the queue: nothing more is read from it before the tracker has what was read, so a tracker that
    is slow, or away for hours, costs no memory and misses nothing. The tracker is opened at the first step that it does
    not have. Of steps that are repeated after a restart, the tracker keeps the first values, which the repeated ones
    equal except for times.
    """

    def __init__(
        self, name: str, run: Run, recipe: Recipe, fence: Fence | None, *, open_tracker: OpenTracker = open_tracker
    ) -> None:
        """
        Args:
            name: Name of the tracker.
            run: The run.
            recipe: Its recipe.
            fence: Fence of the driver, without which nothing is written to the run's folder; None if it has no lease.
            open_tracker: Opens the tracker.
        """
        self.name = name
        self._run, self._recipe, self._fence, self._open = run, recipe, fence, open_tracker
        self._metrics, self._event_tails = JsonLinesTail(run.metrics_uri), []
        for uri in (run.events_uri, run.failures_uri):
            tail = JsonLinesTail(uri)
            tail.new_lines()  # skips the lines of earlier attempts
            self._event_tails.append(tail)
        self._steps: list[StepScalars] = []
        self._events: deque[tuple[int, float, str]] = deque(maxlen=_MAX_EVENTS)
        self._identity: TrackedRun | None = None
        self._sent = 0
        """The last step that was sent; that of the identity is the last one that is surely stored."""
        self._unsure: deque[tuple[float, int]] = deque()
        """When steps were sent, in seconds of the monotonic clock, and the last one of each part."""
        self._tracker: Tracker | None = None
        self._outcome: Outcome = "finished"
        self._stop = threading.Event()
        self._failing = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._send_all, name=f"tracker {name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, outcome: Outcome) -> None:
        """Has the thread send the rest and close the tracker, without waiting for it."""
        self._outcome = outcome
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread, and returns whether it has ended."""
        self._thread.join(timeout=max(0.0, timeout_s))
        return not self._thread.is_alive()

    def busy_s(self) -> float:
        """Returns for how many seconds the tracker has not answered; 0 if nothing is asked of it."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def last_step(self) -> int:
        """Returns the last step that was sent."""
        return self._sent

    def _send_all(self) -> None:
        period_s = _PERIOD_S if is_local(self._run.uri) else _REMOTE_PERIOD_S
        pause_s = 0.0
        while True:
            stopping = self._stop.wait(pause_s)
            self._busy_since = time.monotonic()
            try:
                self._send_new()
                if stopping and self._tracker is not None:
                    self._check_lease()
                    self._tracker.close(self._outcome)
                    self._note(TrackedRun(self._tracker.run_id, self._sent))
                self._report_recovery()
                pause_s = period_s
            except RunTakenOver:  # the other driver sends the rest
                stopping = True
            except Exception as error:  # a tracker's library raises anything, and none of it may end training
                stopping = stopping or self._stop.is_set()
                self._report_failure(error, stopping=stopping)
                self._abandon()
                pause_s = RETRY_PERIOD_S
            self._busy_since = None
            if stopping:
                return

    def _send_new(self) -> None:
        if self._identity is None:
            self._identity = read_identity(self._run, self.name)
            self._sent = self._identity.step if self._identity else 0
        while True:
            self._read()
            if not self._steps and not (self._tracker and self._events):
                return
            tracker = self._tracker or self._opened()
            while self._events:
                tracker.event(*self._events[0])
                self._events.popleft()
            if self._steps:
                part = self._steps[:_STEPS_AT_ONCE]
                tracker.scalars(part)
                self._sent = part[-1].step
                del self._steps[:_STEPS_AT_ONCE]
                self._note_stored(tracker)
            self._busy_since = time.monotonic()

    def _read(self) -> None:
        """Reads the lines since the last call, if all earlier steps have been sent."""
        if self._steps:
            return
        newest = self._sent
        for line in self._metrics.new_lines():
            scalars = step_scalars(line)
            if scalars is not None and scalars.step > newest:
                newest = scalars.step
                self._steps.append(scalars)
        lines = [line for tail in self._event_tails for line in tail.new_lines()]
        for line in sorted(lines, key=time_of):
            step = step_of(line)
            self._events.append((newest if step is None else step, time_of(line), redacted(str(line.get("event", "")))))

    def _opened(self) -> Tracker:
        identity = self._identity
        next_step = self._steps[0].step if self._steps else None
        run_id = identity.run_id if identity else None
        self._tracker = tracker = self._open(self.name, self._run, run_id=run_id, next_step=next_step)
        if run_id is not None and tracker.run_id != run_id:  # the tracker no longer has the run: all steps are new
            self._steps, self._metrics, identity = [], JsonLinesTail(self._run.metrics_uri), None
            self._sent = 0
            self._unsure.clear()
        self._note(identity or TrackedRun(tracker.run_id))
        if identity is None:
            self._read()
        tracker.begin(self._recipe)
        return tracker

    def _note_stored(self, tracker: Tracker) -> None:
        """Notes the last step that is surely stored."""
        now, stored = time.monotonic(), None
        self._unsure.append((now, self._sent))
        while self._unsure and now - self._unsure[0][0] >= tracker.stored_after_s:
            _, stored = self._unsure.popleft()
        if stored is not None:
            self._note(TrackedRun(tracker.run_id, stored))

    def _note(self, identity: TrackedRun) -> None:
        self._check_lease()
        write_identity(self._run, self.name, identity)
        self._identity = identity

    def _check_lease(self) -> None:
        if self._fence is not None:
            self._fence.check()

    def _abandon(self) -> None:
        """Closes the tracker as well as it can be, so that the next attempt opens it anew."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            with suppress(Exception):
                tracker.close(None)

    def _report_failure(self, error: Exception, *, stopping: bool) -> None:
        reason = describe_failure(error)
        if stopping:
            log.warning("tracker %s has no steps after %d: %s", self.name, self.last_step(), reason)
        elif not self._failing:
            log.warning(
                "tracker %s failed and is tried again every %.0f s; training goes on: %s",
                *(self.name, RETRY_PERIOD_S, reason),
            )
        self._failing = True

    def _report_recovery(self) -> None:
        if self._failing:
            log.warning("tracker %s works again", self.name)
        self._failing = False

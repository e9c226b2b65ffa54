"""The page of a run, ``report.html``, while it is trained: its state, curves, failures and events.

The driver's thread writes it at the start, every minute when something has changed, and at the end. Once a run has been
evaluated (``report.json``), the page is the evaluation's and is left alone.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mulan.monitoring.line_sample import LineSample
from mulan.monitoring.status import RunState, RunStatus, run_status
from mulan.runs.lease import Fence, RunTakenOver
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesTail
from mulan.storage.line_values import time_of

PERIOD_S = 60.0
"""Time between two looks whether the page is to be written again."""
END_TIMEOUT_S = 15.0
"""Maximum time in seconds that the end of training waits for the last page."""
_MAX_EVENTS = 30
PAGE, RESULTS = "report.html", "report.json"

log = logging.getLogger(__name__)


@contextmanager
def live_report(run: Run, fence: Fence) -> Iterator[None]:
    """Writes the page of a run during the block, in a thread that neither stops nor slows training.

    Args:
        run: The run, which has a recipe.
        fence: Fence of its lease; a run that was taken over is left alone.
    """
    outcome: list[tuple[RunState, str]] = []
    ended = threading.Event()
    writer = threading.Thread(target=_write_pages, args=(run, fence, ended, outcome), name="report", daemon=True)
    writer.start()
    try:
        yield
        outcome.append((RunState.FINISHED, ""))
    except RunStopped as stopped:
        outcome.append((RunState.STOPPED, str(stopped)))
        raise
    except Exception as error:
        outcome.append((RunState.FAILED, str(error)))
        raise
    except BaseException:
        outcome.append((RunState.INTERRUPTED, ""))
        raise
    finally:
        ended.set()
        writer.join(timeout=END_TIMEOUT_S)  # it may be waiting for storage


def _write_pages(run: Run, fence: Fence, ended: threading.Event, outcome: list[tuple[RunState, str]]) -> None:
    page = LivePage(run)
    while True:
        is_last = ended.is_set()
        try:
            fence.check()
            page.write(outcome[0] if is_last else None)
        except RunTakenOver:
            return
        except Exception as error:  # whatever it is, a page must not disturb training
            log.warning("%s of %s could not be written: %s", PAGE, run.uri, error)
        if is_last:
            return
        ended.wait(PERIOD_S)


@dataclass(frozen=True)
class LiveContent:
    """What the page of a run shows."""

    status: RunStatus
    """Status of the run."""
    lines: LineSample
    """Lines of its metrics."""
    events: tuple[tuple[float, str], ...]
    """Its last events and failures: Unix times in seconds, and texts."""
    recipe_toml: str
    """Its recipe."""
    score: str
    """Name of its selection metric among the scores of a validation."""


class LivePage:
    """The page of a run, which is written again only if something has changed."""

    def __init__(self, run: Run) -> None:
        self._run, self._lines = run, LineSample()
        self._metrics = JsonLinesTail(run.metrics_uri)
        self._texts = JsonLinesTail(run.events_uri), JsonLinesTail(run.failures_uri)
        self._events: list[tuple[float, str]] = []
        self._is_written = False

    def write(self, outcome: tuple[RunState, str] | None = None) -> None:
        """Writes the page, unless nothing has changed, or the run has been evaluated.

        Args:
            outcome: How training has ended, and the reason; None while it goes on.

        Raises:
            StorageError: The storage does not respond.
        """
        changed = [line for tail in self._texts for line in tail.new_lines()]
        steps = self._metrics.new_lines()
        self._lines.add(steps)
        new = [(time_of(line), str(line.get("event", ""))) for line in changed]
        self._events = sorted([*self._events, *new])[-_MAX_EVENTS:]
        if self._is_written and not (changed or steps or outcome):
            return
        if filesystem.exists(filesystem.join(self._run.uri, RESULTS)):
            return
        # imports matplotlib
        from mulan.monitoring.live_page import render_live

        status, recipe = run_status(self._run), self._run.recipe()
        if outcome is not None:  # the lease is still held
            status = replace(status, state=outcome[0], reason=outcome[1], left_s=None)
        content = LiveContent(status, self._lines, tuple(self._events), recipe.to_toml(), recipe.selection_metric.name)
        page = render_live(content, now=time.time())
        filesystem.write_atomically(filesystem.join(self._run.uri, PAGE), page.encode())
        self._is_written = True

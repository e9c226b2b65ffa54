"""The live progress of a run, read from its metrics; plain lines if the output is not a terminal."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mulan.config.recipe import Recipe
from mulan.instrumentation.hang_reports import HangReports
from mulan.runs.run import Run
from mulan.storage.filesystem import is_local
from mulan.storage.jsonl import JsonLinesTail
from mulan.storage.line_values import step_of, time_of

if TYPE_CHECKING:
    from mulan.launch.heartbeat import Heartbeat


_RECENT_STEPS = 20
"""The number of newest steps over which speed and time left are averaged."""
_PLAIN_PERIOD_S = 10.0


@contextmanager
def show_progress(run: Run, recipe: Recipe, console: Console, hangs: HangReports | None = None) -> Iterator[None]:
    """Shows step, loss, pairs/s and time left of a run during the block, and what its workers wait for.

    Ray must be initialised.

    Args:
        run: The run, of which only what it writes during the block is shown.
        recipe: Its recipe.
        console: Where the lines are printed.
        hangs: The reports of hanging steps, if they are watched.
    """
    from mulan.launch.heartbeat import Heartbeat

    events = RunEvents(run, Heartbeat(recipe.scale), hangs)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(run, recipe, console, events, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


class RunEvents:
    """Collects the printed lines of a run other than its steps: events, failures, and what its workers wait for."""

    def __init__(self, run: Run, heartbeat: "Heartbeat", hangs: HangReports | None = None) -> None:
        self._failures, self._events = JsonLinesTail(run.failures_uri), JsonLinesTail(run.events_uri)
        for each in (self._failures, self._events):
            each.new_lines()  # skips the lines of earlier attempts
        self._heartbeat, self._hangs = heartbeat, hangs

    def new_lines(self) -> list[str]:
        """Returns the lines written since the last call, in chronological order."""
        # failures are written by Ray Train's controller, events by a worker
        failures, events = self._failures.new_lines(), self._events.new_lines()
        lines = sorted([*failures, *events], key=time_of)
        if lines:
            if lines[-1] in failures:
                self._heartbeat.on_workers_lost()
            else:
                self._heartbeat.on_workers_started()
        hanging = [f"train  {text}" for text in self._hangs.new_lines()] if self._hangs else []
        events_and_details = (
            (f"train  {line.get('event', '')}", *str(line.get("detail", "")).splitlines()) for line in lines
        )
        return [text for texts in events_and_details for text in texts] + hanging

    def waiting_line(self) -> str | None:
        """Returns a line about what the workers wait for if one is due, else None."""
        return self._heartbeat.next_line()


def _watch(run: Run, recipe: Recipe, console: Console, events: RunEvents, stop: threading.Event) -> None:
    period_s = 1.0 if is_local(run.uri) else 15.0
    begun, shown = time.monotonic(), -1
    last_plain = 0.0
    tail = JsonLinesTail(run.metrics_uri)
    recent: deque[dict[str, Any]] = deque(maxlen=_RECENT_STEPS)
    validated: list[dict[str, Any]] = []
    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else _nothing() as live:
        while True:
            stopping = stop.wait(period_s)
            for event in events.new_lines():
                console.print(event, soft_wrap=True)
            if not stopping and (waiting := events.waiting_line()) is not None:
                console.print(waiting, soft_wrap=True)
            for line in tail.new_lines():
                if step_of(line) is None:
                    continue
                recent.append(line)
                if "validation" in line:
                    validated = [line]
            status = status_line([*validated, *recent], recipe, seconds=time.monotonic() - begun)
            if live is not None:
                live.update(Text(status), refresh=True)
            step = recent[-1]["step"] if recent else 0
            now = time.monotonic()
            due = now - last_plain >= _PLAIN_PERIOD_S
            if (live is None or stopping) and step != shown and (due or stopping):
                console.print(status, soft_wrap=True)
                shown, last_plain = step, now
            if stopping:
                return


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def status_line(metrics: list[dict[str, Any]], recipe: Recipe, *, seconds: float) -> str:
    """Returns the status line of a run with these lines of metrics, ``seconds`` after it was started."""
    if not metrics:
        return f"train  starting workers ({seconds:.0f} s)"
    newest, recent = metrics[-1], metrics[-_RECENT_STEPS:]
    seconds_a_step = sum(line["step_s"] for line in recent) / len(recent)
    left = seconds_a_step * (recipe.train.steps - newest["step"])
    validations = [line["validation"] for line in metrics if "validation" in line]
    shown = [
        f"train  step {newest['step']}/{recipe.train.steps}",
        f"loss {_fixed(newest['loss'], 3)}",
        *([f"temperature {_fixed(newest['temperature'], 4)}"] if "temperature" in newest else []),
        f"{recipe.batch.pairs / seconds_a_step:.1f} pairs/s",
        *([f"MFU {newest['mfu']:.0%}"] if "mfu" in newest else []),
        f"waiting for data {sum(line['data_wait_s'] for line in recent) / sum(line['step_s'] for line in recent):.0%}",
        f"{int(left // 60)}:{int(left % 60):02d} left",
    ]
    if validations:
        name, label = recipe.selection_metric
        shown.append(f"{label} {validations[-1].get(name, math.nan):.3f}")
    if skipped := newest["skipped_recordings"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in skipped.items())
        shown.append(f"{sum(skipped.values())} recordings skipped ({reasons})")
    return "  ".join(shown)


def _fixed(value: float | None, places: int) -> str:
    """Formats a number; None represents one that is not finite."""
    return "not finite" if value is None else f"{value:.{places}f}"

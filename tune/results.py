"""The files with a sweep's results, ``sweep.json``, ``sweep.parquet`` and ``sweep.html``, and the live table."""

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.live import Live

from mulan.storage import filesystem
from tune.domains import NumberInterval, Value, as_text
from tune.importance import importance_of
from tune.outcome import Outcome, outcome_of
from tune.page import render_page
from tune.plan import SweepOptions, SweepPlan
from tune.points import own_values
from tune.summary import SweepResult, to_json
from tune.table import trials_table
from tune.trial import planned_trials

JSON_NAME, PARQUET_NAME, HTML_NAME = "sweep.json", "sweep.parquet", "sweep.html"

FILES_PERIOD_S = 60.0
"""The minimum time between two writes of the files while trials run: drawing takes seconds."""

_POLL_S = 1.0

log = logging.getLogger(__name__)


class SweepResults:
    """Reads the trials of a sweep, and writes what they have shown so far."""

    def __init__(self, plan: SweepPlan, options: SweepOptions) -> None:
        self._plan, self._options = plan, options
        self._ended: dict[int, Outcome] = {}
        """The outcomes of trials to which nothing will be added, which are not read again."""

    def read(self) -> SweepResult:
        """Reads the trials.

        Raises:
            DamagedFile: A file of a trial is damaged.
        """
        trials = planned_trials(self._plan, self._options.trials)
        outcomes = [self._ended.get(one.number) or outcome_of(one, self._plan) for one in trials]
        self._ended = {one.trial.number: one for one in outcomes if one.state in ("completed", "stopped")}
        return SweepResult(self._plan, self._options, outcomes)

    def write(self, result: SweepResult) -> None:
        """Writes the three files, each atomically.

        Raises:
            StorageError: A file cannot be written.
        """
        importance = importance_of(self._plan, result.outcomes)
        summary = to_json(result, None if importance is None else importance.shares)
        files = {
            JSON_NAME: json.dumps(summary, indent=1, allow_nan=False).encode(),
            PARQUET_NAME: to_parquet(result),
            HTML_NAME: render_page(result, importance).encode(),
        }
        for name, content in files.items():
            filesystem.write_atomically(filesystem.join(self._plan.run.uri, name), content)


def to_parquet(result: SweepResult) -> bytes:
    """Returns ``sweep.parquet``: a row for each trial, with its settings, state, figures and cost.

    The columns of fields have their names; values of lists (``choice``, ``grid``) are text as in ``--set``.
    """
    plan, own = result.plan, own_values(result.plan)
    points = [None if one.trial.point is None else own | dict(one.trial.point) for one in result.outcomes]
    columns = {
        "trial": [one.trial.run.name for one in result.outcomes],
        "state": [one.state for one in result.outcomes],
        "reason": [None if one.failure is None else one.failure.reason for one in result.outcomes],
        "steps": [one.steps for one in result.outcomes],
        "worker_seconds": [one.worker_seconds for one in result.outcomes],
    }
    table = pa.table(columns)
    for field, domain in plan.space.domains.items():
        values = [None if point is None else point[field] for point in points]
        if isinstance(domain, NumberInterval):
            column = pa.array([_number(value) for value in values], pa.float64())
        else:
            column = pa.array([_text(value) for value in values], pa.string())
        table = table.append_column(field, column)
    for objective in plan.objectives:
        figures = [one.last(objective) for one in result.outcomes]
        table = table.append_column(f"objective {objective.name}", pa.array(figures, pa.float64()))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Value) -> str | None:
    return None if value is None else as_text(value)


class LiveResults:
    """Keeps the files, and a table if the output is a terminal, up to date in a thread of its own."""

    def __init__(self, results: SweepResults, console: Console) -> None:
        self._results, self._console = results, console
        self._changed, self._stop = threading.Event(), threading.Event()
        self._tried_s, self._is_unwritten = -FILES_PERIOD_S, False

    def on_change(self) -> None:
        """Tells that a trial has been validated, or has ended."""
        self._changed.set()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keeps everything up to date during the block; the caller writes the last state."""
        thread = threading.Thread(target=self._watch, name="results", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    @property
    def is_pending(self) -> bool:
        """Whether a change has not been seen yet."""
        return self._changed.is_set()

    def _watch(self) -> None:
        is_terminal = self._console.is_terminal
        with Live(console=self._console, auto_refresh=False, transient=True) if is_terminal else nullcontext() as live:
            while not self._stop.wait(_POLL_S):
                try:
                    self._update(live)
                except Exception as error:  # storage may fail for a while; the last write reports what remains
                    self._tried_s = time.monotonic()
                    log.warning("the results of the sweep cannot be shown or written: %s", error)

    def _update(self, live: Live | None) -> None:
        is_new = self.is_pending
        self._is_unwritten = self._is_unwritten or is_new
        due = self._is_unwritten and time.monotonic() - self._tried_s >= FILES_PERIOD_S
        if not (due or (is_new and live is not None)):
            return
        self._changed.clear()
        result = self._results.read()
        if live is not None:
            live.update(trials_table(result.plan, result.outcomes), refresh=True)
        if due:
            self._results.write(result)
            self._tried_s, self._is_unwritten = time.monotonic(), False

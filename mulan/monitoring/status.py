"""The status of a run, read from the files in its folder by a few small requests, however long the run is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mulan.config.errors import MulanError
from mulan.config.parsing import parse_json
from mulan.config.recipe import Recipe
from mulan.monitoring.driver import Driver, LeaseWatch, newest_driver
from mulan.monitoring.tail import Lines, read_tails
from mulan.runs.checkpoint_list import MANIFEST, steps_of_checkpoint
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import parts_among
from mulan.storage.line_values import number, step_of, time_of
from mulan.storage.listing import FolderEntry, entries_in

RECENT_STEPS = 20
"""Maximum number of newest steps over which speed and time left are averaged."""
MAX_CHARACTERS = 300
"""Maximum number of characters of a reason."""


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    WAITING = "waiting for workers"
    FINISHED = "finished"
    ENDED_EARLY = "ended by its sweep"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NEVER_STARTED = "never started"
    DAMAGED = "damaged"

    @property
    def is_over(self) -> bool:
        """Whether no driver trains the run."""
        return self not in (RunState.RUNNING, RunState.WAITING)


@dataclass(frozen=True)
class RunStatus:
    """The status of a run. Numbers are None where they are unknown."""

    name: str
    """Name of the run; of a trial or variant, ``SWEEP/NAME``."""
    uri: str
    """The run's folder."""
    state: RunState
    """Where it stands."""
    reason: str = ""
    """Why it stands there, in words; empty if the state says it all."""
    step: int = 0
    """Last step."""
    steps: int | None = None
    """Steps of the recipe."""
    last_step_time: float | None = None
    """Time of the last step as a Unix time in seconds."""
    driver: str = ""
    """Process and host of the newest driver; empty if there was none."""
    since: float | None = None
    """When that driver started, as a Unix time in seconds by its clock."""
    loss: float | None = None
    """Last loss."""
    score_name: str = ""
    """Name of the validation score by which checkpoints are compared."""
    score: float | None = None
    """Last score of a kept checkpoint or recent validation."""
    best_score: float | None = None
    """Best score of the kept checkpoints."""
    best_step: int | None = None
    """Step of the best score."""
    pairs_per_s: float | None = None
    """Pairs per second over the newest steps."""
    left_s: float | None = None
    """Seconds until the last step at that speed, while it is running."""
    saved_step: int = 0
    """Step of the newest checkpoint."""
    failures: int = 0
    """Number of recorded failures, of at most the last hundred."""
    last_failure: str = ""
    """The last of them."""
    skipped_recordings: Mapping[str, int] = field(default_factory=dict)
    """Number of skipped recordings by reason."""

    @property
    def run(self) -> Run:
        """The run."""
        folder, _, name = self.uri.rpartition("/")
        return Run(folder, name)


def run_status(
    run: Run,
    *,
    name: str | None = None,
    entries: Mapping[str, FolderEntry] | None = None,
    watch: LeaseWatch | None = None,
) -> RunStatus:
    """Reads the status of a run. A damaged one is :attr:`RunState.DAMAGED` and has the reason.

    Args:
        run: The run.
        name: Its name in the status, if it is not ``run.name``.
        entries: Listing of its folder if there is one.
        watch: Observes its lease; without one, clocks decide whether its driver is alive.

    Raises:
        StorageError: The storage does not respond.
    """
    name = run.name if name is None else name
    entries = entries_in(run.uri) if entries is None else entries
    try:
        recipe = run.recipe()
    except (MulanError, OSError) as error:
        return RunStatus(name, run.uri, RunState.DAMAGED, _bounded(str(error)))
    driver = newest_driver(run.uri)
    folders = sorted((each for each in entries if steps_of_checkpoint(each) is not None), reverse=True)
    manifests = [f"{each}/{MANIFEST}" for each in folders]
    lines, contents = read_tails(run.uri, entries, ("metrics", "events", "failures"), manifests)
    return _status(run, name, recipe, driver, entries, lines, _saved(contents), watch)


def _status(
    run: Run,
    name: str,
    recipe: Recipe,
    driver: Driver | None,
    entries: Mapping[str, FolderEntry],
    lines: Mapping[str, Lines],
    saved: Mapping[int, float | None],
    watch: LeaseWatch | None,
) -> RunStatus:
    steps = [line for line in lines["metrics"] if step_of(line) is not None]
    last = steps[-1] if steps else {}
    newest_part = next(reversed(parts_among(entries, "metrics.jsonl")), None)
    of_file = entries[newest_part].modified if newest_part and steps else None
    is_alive = driver is not None and (watch.is_alive(driver) if watch else driver.is_alive)
    saved_step = max(saved, default=0)
    state, reason = _state(lines, driver, is_alive, saved_step >= recipe.train.steps, "over.json" in entries, last)
    metric = recipe.selection_metric
    scores = {step: score for step, score in saved.items() if score is not None}
    scores |= {
        line["step"]: score
        for line in steps
        if isinstance(line.get("validation"), dict) and (score := number(line["validation"], metric.name)) is not None
    }
    best = max(scores, key=lambda step: (scores[step], -step), default=None)
    seconds_a_step = mean([value for line in steps[-RECENT_STEPS:] if (value := number(line, "step_s"))])
    step, failures = last.get("step", 0), [str(line.get("event", "")) for line in lines["failures"]]
    skipped = last.get("skipped_recordings")
    return RunStatus(
        name,
        run.uri,
        state,
        _bounded(reason),
        step=step,
        steps=recipe.train.steps,
        last_step_time=number(last, "time") or of_file,
        driver=driver.describe() if driver else "",
        since=driver.since if driver else None,
        loss=number(last, "loss"),
        score_name=metric.label,
        score=scores[max(scores)] if scores else None,
        best_score=None if best is None else scores[best],
        best_step=best,
        pairs_per_s=_finite(recipe.batch.pairs / seconds_a_step) if seconds_a_step else None,
        left_s=seconds_a_step * max(0, recipe.train.steps - step) if seconds_a_step and not state.is_over else None,
        saved_step=saved_step,
        failures=len(failures),
        last_failure=_bounded(failures[-1]) if failures else "",
        skipped_recordings={
            filesystem.printable(str(key)): value for key, value in skipped.items() if isinstance(value, int)
        }
        if isinstance(skipped, dict)
        else {},
    )


def _state(
    lines: Mapping[str, Lines],
    driver: Driver | None,
    is_alive: bool,
    is_complete: bool,
    is_ended: bool,
    last_step: Mapping[str, Any],
) -> tuple[RunState, str]:
    """Returns the state of a run and its reason.

    Workers write events and metrics, and Ray Train's controller writes failures: what is newer decides.
    """
    since = 0.0
    if driver is not None:  # one that is just starting has done nothing yet
        since = math.inf if driver.since is None else driver.since
    worked = max([time_of(line) for line in lines["events"][-1:]] + [time_of(last_step)])
    failed = max((time_of(line) for line in lines["failures"][-1:]), default=0.0)
    failure = str(lines["failures"][-1].get("event", "")) if lines["failures"] else ""
    if driver is not None and is_alive:
        state = RunState.RUNNING if worked >= since and worked >= failed else RunState.WAITING
        lost = failure if failed >= since and failed > worked else ""
        return state, f"stop {driver.asked_to_stop}" if driver.asked_to_stop else lost
    if is_complete:
        return RunState.FINISHED, ""
    if is_ended:
        return RunState.ENDED_EARLY, ""
    if driver is None:
        return (RunState.INTERRUPTED, "it has no lease") if last_step else (RunState.NEVER_STARTED, "")
    if driver.has_released and driver.asked_to_stop:
        return RunState.STOPPED, str(driver.asked_to_stop)
    if driver.has_released and failed >= since and failed > worked:
        return RunState.FAILED, failure
    how = "ended" if driver.has_released else "is gone without releasing its lease"
    return RunState.INTERRUPTED, f"its driver, {driver.describe()}, {how}"


def _saved(manifests: Mapping[str, bytes]) -> dict[int, float | None]:
    """Returns the scores of the checkpoints that have a manifest, by their steps."""
    found = {}
    for name, content in manifests.items():
        step = steps_of_checkpoint(name.partition("/")[0])
        try:
            score = parse_json(content)["score"]
        except (ValueError, TypeError, KeyError):  # damaged, so that training uses the one before it
            continue
        if step is not None:
            found[step] = number({"score": score}, "score")
    return found


def mean(values: Sequence[float]) -> float | None:
    """Returns the mean of numbers; None of none."""
    return sum(values) / len(values) if values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no infinity


def _bounded(text: str) -> str:
    line = filesystem.printable(" ".join(text.split()))
    return line if len(line) <= MAX_CHARACTERS else f"{line[: MAX_CHARACTERS - 2]} …"

"""The runs of a storage, and one of them with its curves, as text for a terminal."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from mulan.monitoring.run_list import Listed, RunGroup
from mulan.monitoring.status import RunState, RunStatus
from mulan.monitoring.terminal_curve import curve_lines
from mulan.storage.line_values import number, step_of

_ANY = 10_000
"""A width into which every table fits."""
CURVE_WIDTH, CURVE_HEIGHT = 60, 5
"""Size of a curve in characters."""
_STYLES = {
    RunState.RUNNING: "green",
    RunState.WAITING: "yellow",
    RunState.FINISHED: "bold",
    RunState.FAILED: "red",
    RunState.DAMAGED: "red",
}
_HEADINGS = ("run", "state", "step", "loss", "score", "best", "pairs/s", "left", "last step", "failures", "driver")
_LEFT_OUT_FIRST = ("pairs/s", "loss", "best", "driver", "failures", "score", "left", "last step")
"""Columns that a terminal too narrow for all of them lacks, in this order."""


class RunsTable:
    """A table with a line for each run, group or other folder, and below it why some stand where they do."""

    def __init__(self, listed: Sequence[Listed], *, now: float) -> None:
        """
        Args:
            listed: What is in a folder of runs.
            now: Present time as a Unix time in seconds.
        """
        self._rows: list[dict[str, Text]] = []
        self._notes: list[Text] = []
        for each in listed:
            if isinstance(each, RunStatus):
                self._rows.append(_row(each, now))
                if each.reason and each.state not in (RunState.RUNNING, RunState.INTERRUPTED):
                    self._notes.append(Text(f"{each.name}: {each.reason}", overflow="fold"))
            elif isinstance(each, RunGroup):
                self._rows.append(_group_row(each))
            else:
                self._notes.append(Text(f"{each.name}: not a run ({each.reason})", overflow="fold"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings = [heading for heading in _HEADINGS if heading == "run" or any(row.get(heading) for row in self._rows)]
        for unneeded in _LEFT_OUT_FIRST:
            if self._table(headings).__rich_measure__(console, options.update(width=_ANY)).maximum <= options.max_width:
                break
            headings = [heading for heading in headings if heading != unneeded]
        if self._rows:
            yield self._table(headings)
        yield from self._notes

    def _table(self, headings: Sequence[str]) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        for heading in headings:
            is_text = heading in ("run", "state", "best", "driver")
            table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
        for row in self._rows:
            table.add_row(*(row.get(heading, Text()) for heading in headings))
        return table


def _group_row(group: RunGroup) -> dict[str, Text]:
    best = group.best
    of_best = f"{best.best_score:.3f} of {best.name.rpartition('/')[2]}" if best and best.best_score else ""
    return {
        "run": Text(f"{group.name}/ ({group.kind})"),
        "state": Text(", ".join(f"{count} {state}" for state, count in group.counts.items()) or "no runs"),
        "best": Text(of_best),
        "driver": Text("alive" if group.is_driven else ""),
    }


def _row(status: RunStatus, now: float) -> dict[str, Text]:
    best = f"{status.best_score:.3f} at {status.best_step}" if status.best_score is not None else ""
    texts = {
        "run": status.name,
        "step": f"{status.step}/{status.steps}" if status.steps else "",
        "loss": f"{status.loss:.3f}" if status.loss is not None else "",
        "score": f"{status.score:.3f}" if status.score is not None else "",
        "best": best,
        "pairs/s": f"{status.pairs_per_s:.1f}" if status.pairs_per_s and not status.state.is_over else "",
        "left": duration(status.left_s) if status.left_s is not None else "",
        "last step": f"{duration(now - status.last_step_time)} ago" if status.last_step_time else "",
        "failures": str(status.failures) if status.failures else "",
        "driver": "" if status.state.is_over else status.driver.partition(",")[0],
    }
    return {name: Text(text) for name, text in texts.items()} | {
        "state": Text(status.state, style=_STYLES.get(status.state, ""))
    }


def status_facts(status: RunStatus, *, now: float) -> dict[str, str]:
    """Returns what is known about a run as texts by name, without what is unknown.

    Args:
        status: Status of the run.
        now: Present time as a Unix time in seconds.
    """
    score = f"{status.score_name} {status.score:.3f}" if status.score is not None else ""
    if status.best_score is not None:
        score += f", best {status.best_score:.3f} at step {status.best_step}"
    speed = f"{status.pairs_per_s:.1f} pairs/s" if status.pairs_per_s else ""
    left = f", {duration(status.left_s)} left" if status.left_s is not None else ""
    failures = f"{status.failures}, the last: {status.last_failure}" if status.failures else ""
    facts = {
        "state": f"{status.state}{': ' if status.reason else ''}{status.reason}",
        "step": f"{status.step} of {status.steps}" if status.steps else "",
        "last step": f"{duration(now - status.last_step_time)} ago" if status.last_step_time else "",
        "loss": f"{status.loss:.4f}" if status.loss is not None else "",
        "score": score,
        "speed": f"{speed}{left}" if not status.state.is_over else speed,
        "checkpoint": f"of step {status.saved_step}" if status.saved_step else "none",
        "driver": status.driver,
        "failures": failures,
        "skipped": ", ".join(f"{reason} {count}" for reason, count in status.skipped_recordings.items()),
    }
    return {name: text for name, text in facts.items() if text}


def status_view(
    status: RunStatus, lines: Sequence[Mapping[str, Any]], events: Sequence[str], *, score: str, now: float
) -> RenderableType:
    """Returns the status of a run, its curves, and its last events.

    Args:
        status: Status of the run.
        lines: Lines of its ``metrics.jsonl``.
        events: Texts of its events, the last ones of which are shown.
        score: Name of its selection metric among the scores of a validation.
        now: Present time as a Unix time in seconds.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, text in {"run": status.uri, **status_facts(status, now=now)}.items():
        facts.add_row(Text(name), Text(text))
    curves = [
        Text("\n".join(["", f"{title}, steps {points[0][0]:g} to {points[-1][0]:g}", *drawn]))
        for title, points in _curves(lines, status.score_name, score).items()
        if (drawn := curve_lines(points, width=CURVE_WIDTH, height=CURVE_HEIGHT))
    ]
    last = [Text(""), *(Text(each, overflow="fold") for each in events[-5:])] if events else []
    return Group(facts, *curves, *last)


def _curves(lines: Sequence[Mapping[str, Any]], label: str, score: str) -> dict[str, list[tuple[float, float]]]:
    steps = sorted((line for line in lines if step_of(line) is not None), key=lambda line: line["step"])
    validated = [line for line in steps if isinstance(line.get("validation"), dict)]

    def points(
        values: Sequence[Mapping[str, Any]], of: Sequence[Mapping[str, Any]], key: str
    ) -> list[tuple[float, float]]:
        return [
            (line["step"], value)
            for line, each in zip(of, values, strict=True)
            if (value := number(each, key)) is not None
        ]

    return {
        "loss": points(steps, steps, "loss"),
        label: points([line["validation"] for line in validated], validated, score),
        "pairs/s": points(steps, steps, "pairs_per_s"),
    }


def status_line(status: RunStatus) -> str:
    """Returns the status of a run in one line, for logs."""
    facts = status_facts(status, now=time.time())
    shown = [facts["state"], f"step {facts['step']}" if status.step else ""]
    shown += [f"loss {facts['loss']}" if "loss" in facts else "", facts.get("score", ""), facts.get("speed", "")]
    return "  ".join(filter(None, [status.name, *shown]))


def duration(seconds: float) -> str:
    """Returns a duration in its two largest units.

    Example:
        >>> [duration(each) for each in (-3, 42, 130, 7300, 200_000)]
        ['0 s', '42 s', '2 min 10 s', '2 h 1 min', '2 d 7 h']
    """
    left = max(0, round(min(seconds, 1e12)))  # a time that a clock has, whatever a file says
    units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)]
    parts = []
    for name, size in units:
        count, left = divmod(left, size)
        parts.append((count, name))
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {name}" for count, name in parts[first : first + 2] if count or first == 3)

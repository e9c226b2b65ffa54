"""What runs have in common and what differs: recipes, facts, curves and evaluations, read from their folders."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mulan.config.errors import ErrorCollection, MulanError
from mulan.config.parsing import parse_json
from mulan.config.recipe import Recipe, differing_fields
from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.score_names import HIDDEN_SCORES, SECTION_TITLES, bounds, chance_of, fixed, score_name
from mulan.evaluation.report.summary import scores_of, section_of
from mulan.monitoring.status import RunState, RunStatus
from mulan.monitoring.terminal import status_facts
from mulan.runs.run import RunError
from mulan.storage import filesystem

NONE = "\N{EN DASH}"
"""What is shown in place of a value that there is not."""


@dataclass(frozen=True)
class ComparedRun:
    """A run with what is compared."""

    status: RunStatus
    """Its status."""
    recipe: Recipe
    """Its recipe."""
    lines: Sequence[Mapping[str, Any]]
    """Lines of its ``metrics.jsonl``."""
    seconds: Mapping[str, float]
    """Duration of each stage in seconds."""
    report: Mapping[str, Any] | None
    """Content of its ``report.json``; None if it has not been evaluated."""
    note: str = ""
    """Why its report is left out; empty otherwise."""


@dataclass(frozen=True)
class Cell:
    """A score of a run."""

    value: str
    """The score; a dash if there is none."""
    interval: str
    """Its 95 % interval; empty if there is none."""
    is_best: bool
    """Whether no other run is better."""


@dataclass(frozen=True)
class EvaluationRow:
    """A score of a set, of all runs."""

    set_name: str
    """Name of the set."""
    label: str
    """Name of the score."""
    chance: str
    """Value by chance; empty if it is unknown."""
    cells: tuple[Cell, ...]
    """Scores of the runs in their order."""
    is_same_sample: bool
    """Whether all of them were scored on the same recordings or queries."""


@dataclass(frozen=True)
class EvaluationTable:
    """A section of the evaluations."""

    title: str
    """Title of the section."""
    rows: tuple[EvaluationRow, ...]
    """Its scores."""


def read_runs(statuses: Sequence[RunStatus]) -> list[ComparedRun]:
    """Reads what is compared, of all runs at a time.

    Raises:
        RunError: A run is damaged.
        DamagedFile: The metrics of a run are.
    """
    errors = ErrorCollection()
    for status in statuses:
        with errors.collecting():
            if status.state is RunState.DAMAGED:
                raise RunError(f"run {status.uri} is damaged: {status.reason}")
    errors.raise_any()
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(_read, status) for status in statuses]
    found = []
    for future in futures:
        with errors.collecting():
            found.append(future.result())
    errors.raise_any()
    return found


def _read(status: RunStatus) -> ComparedRun:
    run = status.run
    report, note = _report(filesystem.join(run.uri, "report.json"))
    return ComparedRun(status, run.recipe(), run.metrics(), run.seconds(), report, note)


def _report(uri: str) -> tuple[Mapping[str, Any] | None, str]:
    """Returns the content of a report, and why it is left out."""
    try:
        report = parse_json(filesystem.read_bytes(uri))
        _check_scores(report)
    except FileNotFoundError:
        return None, "not evaluated"
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, "its report.json is damaged, or of another version"
    except MulanError as error:
        return None, str(error)
    return report, ""


def _check_scores(report: Mapping[str, Any]) -> None:
    """Raises a ValueError, TypeError, KeyError or AttributeError if scores are not as an evaluation writes them."""
    for section in SECTIONS:
        for each in section_of(report, section).values():
            bounds_of_all = [bound for interval in each["intervals"].values() for bound in interval or ()]
            values = [*scores_of(each).values(), *bounds_of_all, *each["details"].get("chance", {}).values()]
            if not all(value is None or isinstance(value, int | float) for value in values):
                raise TypeError("a score is no number")


def differing_rows(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    """Returns the fields in which recipes differ, with the value of each run as it is written in TOML or JSON."""
    first, *others = (run.recipe for run in runs)
    differences = [differing_fields(first, other) for other in others]
    fields = {field: both[0] for each in differences for field, both in each.items()}
    return {
        field: [_written(own), *(_written(each[field][1] if field in each else own) for each in differences)]
        for field, own in sorted(fields.items())
    }


def _written(value: Any) -> str:
    return (
        NONE if value is None else value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    )


def fact_rows(runs: Sequence[ComparedRun], *, now: float) -> dict[str, list[str]]:
    """Returns what is known about each run, by the name of the fact.

    Args:
        runs: The runs.
        now: Present time as a Unix time in seconds.
    """
    facts = [_facts(run, now) for run in runs]
    names = list(dict.fromkeys(name for each in facts for name in each))
    return {name: [each.get(name, NONE) for each in facts] for name in names}


def _facts(run: ComparedRun, now: float) -> dict[str, str]:
    facts = status_facts(run.status, now=now)
    facts |= {f"time: {stage}": f"{seconds:,.0f} s" for stage, seconds in run.seconds.items()}
    facts["folder"] = run.status.uri
    training = run.report.get("training") if run.report else None
    steps = training.get("steps") if isinstance(training, Mapping) else None
    facts["evaluation"] = run.note or (f"of step {steps}" if steps is not None else "there is one")
    return facts


def evaluation_tables(runs: Sequence[ComparedRun]) -> list[EvaluationTable]:
    """Returns the scores of the runs side by side, by the sections of an evaluation."""
    tables = (EvaluationTable(SECTION_TITLES[section], tuple(_rows(runs, section))) for section in SECTIONS)
    return [table for table in tables if table.rows]


def _rows(runs: Sequence[ComparedRun], section: str) -> Iterator[EvaluationRow]:
    by_run = [section_of(run.report, section) if run.report else {} for run in runs]
    for name in dict.fromkeys(name for sets in by_run for name in sets):
        found = [sets.get(name) for sets in by_run]
        having = [each for each in found if each is not None]
        for score in dict.fromkeys(score for each in having for score in scores_of(each)):
            if score in HIDDEN_SCORES:
                continue
            named = score_name(score)
            values = [None if each is None else each.get(score) for each in found]
            known = [value for value in values if value is not None]
            best = (min(known) if named.is_better_low else max(known)) if len(known) > 1 else None
            chance = chance_of(score, having[0])
            yield EvaluationRow(
                name,
                named.label,
                "" if chance is None else fixed(chance, named.digits),
                tuple(
                    Cell(
                        fixed(value, named.digits),
                        bounds(each["intervals"].get(score) if each else None, named.digits),
                        value is not None and value == best,
                    )
                    for value, each in zip(values, found, strict=True)
                ),
                len({each.get("sample_sha256") for each in having}) == 1,
            )

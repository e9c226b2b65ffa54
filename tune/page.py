"""The page of a sweep: one HTML file that contains its pictures, and fetches nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from mulan.evaluation.report.drawing import PICTURE_FILTERS
from mulan.pages.rendering import render
from tune.domains import as_text
from tune.importance import Importance
from tune.outcome import Outcome
from tune.pictures import (
    colors_of_marked,
    curves_picture,
    field_pictures,
    front_picture,
    importance_picture,
    parallel_picture,
)
from tune.points import own_values
from tune.summary import SweepResult, compute_of, pareto_front

_BEST = 5
"""The number of best trials whose commands are shown."""


@dataclass(frozen=True)
class TrialRow:
    """A row of the table of trials."""

    name: str
    state: str
    values: tuple[str, ...]
    """The value of each field."""
    differs: tuple[bool, ...]
    """Whether the value is another one than the recipe's."""
    steps: int
    figures: tuple[str, ...]
    """The last figure of each objective."""
    reason: str
    """What ended the trial; empty unless it failed."""


def render_page(result: SweepResult, importance: Importance | None) -> str:
    """Renders the page of a sweep, without pictures if no trial has been validated; all texts are escaped.

    Args:
        result: The sweep.
        importance: The importance of its fields; None if it is not known.
    """
    plan = result.plan
    counts = {state: sum(one.state == state for one in result.outcomes) for state in _states(result)}
    best = result.best
    return render(
        "tune",
        "page_template.html",
        PICTURE_FILTERS,
        name=plan.run.name,
        objective=plan.objective,
        objectives=plan.objectives,
        method=plan.method,
        fields=[(field, str(domain)) for field, domain in plan.space.domains.items()],
        num_trials=len(result.outcomes),
        num_waiting=counts.get("waiting", 0),
        train_steps=plan.recipe.train.steps,
        early_stopping=result.options.early_stopping,
        counts=counts,
        compute=compute_of(plan, result.outcomes),
        best=None if best is None else _row(result, best),
        own=_row(result, result.own),
        best_commands=[(_row(result, one), result.command(one)) for one in result.ranking[:_BEST]],
        rows=[_row(result, one) for one in _in_order(result)],
        failed=[_row(result, one) for one in result.outcomes if one.failure is not None],
        curves=None if best is None else curves_picture(result),
        colors=colors_of_marked(result),
        field_plots=field_pictures(result),
        parallel=None if best is None else parallel_picture(result),
        importance=importance,
        importance_picture=None if importance is None else importance_picture(importance),
        front=front_picture(result) if len(plan.objectives) > 1 and best is not None else None,
        front_names=[one.trial.run.name for one in pareto_front(plan, result.outcomes)],
    )


def _states(result: SweepResult) -> list[str]:
    order = ["completed", "stopped", "diverged", "collapsed", "out of memory", "failed", "unfinished", "waiting"]
    found = {one.state for one in result.outcomes}
    return [state for state in order if state in found]


def _in_order(result: SweepResult) -> Iterator[Outcome]:
    ranking = result.ranking
    scored = {one.trial.number for one in ranking}
    yield from ranking
    yield from (one for one in result.outcomes if one.trial.number not in scored and one.state != "waiting")


def _row(result: SweepResult, outcome: Outcome) -> TrialRow:
    plan, own = result.plan, own_values(result.plan)
    point = own | dict(outcome.trial.point or {})
    figures = [outcome.last(objective) for objective in plan.objectives]
    return TrialRow(
        outcome.trial.run.name,
        outcome.state,
        tuple("" if value is None else as_text(value) for value in point.values()),
        tuple(point[field] != own[field] for field in point),
        outcome.steps,
        tuple("" if figure is None else f"{figure:.4g}" for figure in figures),
        "" if outcome.failure is None else outcome.failure.reason,
    )

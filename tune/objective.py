"""The objectives of a sweep: the figures by which its trials are compared, and whether higher or lower is better."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mulan.config.evaluation import describe_figures, is_evaluated
from mulan.config.recipe import Recipe
from tune.errors import SweepError

Goal = Literal["max", "min"]

STEP_SECONDS = "step_seconds"
"""Name of the objective that is the median duration of a step in seconds, without validation and checkpoints."""


@dataclass(frozen=True)
class Objective:
    """A figure by which trials are compared."""

    name: str
    """Name of a validation score, or :data:`STEP_SECONDS`."""
    goal: Goal
    """Whether the highest or the lowest figure is best."""
    label: str
    """Name in tables."""

    @property
    def reported(self) -> str:
        """Name of a validation score among the metrics that workers report to Ray."""
        return f"validation_{self.name}"

    @property
    def sign(self) -> float:
        """Factor by which figures are multiplied so that higher ones are better."""
        return 1.0 if self.goal == "max" else -1.0

    def scores(self, metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
        """Returns the step and the figure of each validation, from the lines of ``metrics.jsonl``.

        A figure that is not finite, as that of diverged weights may be, is none.
        """
        if self.name == STEP_SECONDS:
            return _median_seconds(metrics)
        validated = [(int(line["step"]), line["validation"]) for line in metrics if "validation" in line]
        figures = [(step, found[self.name]) for step, found in validated if found.get(self.name) is not None]
        return [(step, float(figure)) for step, figure in figures if math.isfinite(figure)]


def _median_seconds(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    seconds: list[float] = []
    medians = []
    for line in metrics:
        if "step_s" in line:
            seconds.append(float(line["step_s"]))
        if "validation" in line and seconds:
            medians.append((int(line["step"]), statistics.median(seconds)))
    return medians


def objectives_of(given: Sequence[str], recipe: Recipe) -> tuple[Objective, ...]:
    """Returns the objectives of a sweep; by default, the highest :attr:`mulan.config.recipe.Recipe.selection_metric`.

    Args:
        given: ``NAME=max`` or ``NAME=min`` of each objective. The first one, by which ASHA compares trials, must be a
            score; others may also be :data:`STEP_SECONDS`.
        recipe: The recipe, which determines the scores of a validation.

    Raises:
        SweepError: An objective is not known, or not valid; lists all errors.
    """
    own = recipe.selection_metric
    if not given:
        return (Objective(own.name, "max", own.label),)
    faults: list[str] = []
    found: list[Objective] = []
    for number, text in enumerate(given):
        name, _, goal = text.partition("=")
        fault = _fault(name, goal, recipe, is_first=number == 0)
        if fault:
            faults.append(f"--objective {text}: {fault}")
        elif any(name == other.name for other in found):
            faults.append(f"--objective {text}: {name} is given twice")
        else:
            label = own.label if name == own.name else "s per step" if name == STEP_SECONDS else name
            found.append(Objective(name, "max" if goal == "max" else "min", label))
    if faults:
        raise SweepError("; ".join(faults))
    return tuple(found)


def _fault(name: str, goal: str, recipe: Recipe, *, is_first: bool) -> str:
    """Returns what is wrong with an objective; empty if nothing is."""
    if goal not in get_args(Goal):
        return "must have the form NAME=max or NAME=min"
    if name == STEP_SECONDS:
        return "trials are stopped early by the first objective, so give a score first" if is_first else ""
    if name == "loss" or name.startswith("loss_"):
        return "losses at different temperatures or weights are not comparable; give a score"
    if name == recipe.selection_metric.name or is_evaluated(name, recipe.evaluation):
        return ""
    return (
        f"there is no such figure; give {recipe.selection_metric.name}, {STEP_SECONDS}, or "
        f"{describe_figures(recipe.evaluation)}"
    )

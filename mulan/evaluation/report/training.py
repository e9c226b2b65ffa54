"""What a report states about the training of the first model: the last values, curves, and the recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np

from mulan.config.checks import pretraining_warnings
from mulan.config.objectives import collapsed_losses
from mulan.config.recipe import Recipe
from mulan.evaluation.report.drawing import GREY, PALETTE, STYLE, Picture, label_steps, new_figure, picture_of

_FEW_STEPS = 40
"""Maximum number of steps that are drawn as points."""


@dataclass(frozen=True)
class TrainingReport:
    """How the first model of a report was trained."""

    facts: Mapping[str, Any]
    """Value of ``training`` in ``report.json``."""
    curves: tuple[Picture, ...]
    """Values over the steps."""
    recipe_toml: str
    """The resolved recipe."""


def training_report(lines: Sequence[Mapping[str, Any]], recipe: Recipe, seconds: Mapping[str, float]) -> TrainingReport:
    """Describes the training of a run.

    Args:
        lines: Lines of ``metrics.jsonl``: ``step``, ``loss``, ``temperature``, ``grad_norm``, ``pairs_per_s`` and
            ``data_wait_s`` of each training step, and ``step`` and ``validation`` of each validation.
        recipe: The resolved recipe of the run.
        seconds: Duration of each stage of the run, by name.
    """
    last: Mapping[str, Any] = next(reversed(_updates(lines)), {})
    facts = {
        "steps": max((line["step"] for line in lines if "loss" in line), default=0),
        "pairs_per_batch": recipe.batch.pairs,
        "loss": last.get("loss"),
        "loss_of_chance": _loss_of_chance(recipe),
        "temperature": last.get("temperature"),
        "validation": next((line["validation"] for line in reversed(lines) if "validation" in line), None),
        "warnings": list(pretraining_warnings(recipe.audio_tower)),
        "seconds": dict(seconds),
    }
    return TrainingReport(facts, tuple(_curves(lines, recipe)), recipe.to_toml())


def _loss_of_chance(recipe: Recipe) -> float | None:
    """Returns the loss of equal similarities; None if it depends on more than the size of the batch."""
    values = collapsed_losses(recipe.loss, recipe.batch.pairs)
    weights = {term: weight for term, weight in recipe.loss.weights if weight}
    return sum(weight * values[term] for term, weight in weights.items()) if weights.keys() <= values.keys() else None


def _updates(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the steps that updated the weights; the others have a non-finite value, stored as null."""
    return [line for line in lines if "loss" in line and None not in line.values()]


def _curves(lines: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[Picture]:
    trained = _updates(lines)
    chance = _loss_of_chance(recipe)
    level = None if chance is None else (chance, "all similarities equal")
    described = (
        ("loss", "Training loss", "nats", level),
        ("temperature", "Temperature", "temperature (no unit)", None),
        ("grad_norm", "Gradient norm before clipping", "L2 norm", None),
        ("pairs_per_s", "Throughput", "pairs / s", None),
    )
    curves = [
        _curve(having, key, title=title, unit=unit, level=reference)
        for key, title, unit, reference in described
        if (having := [line for line in trained if key in line])
    ]
    validated = [{"step": line["step"]} | line["validation"] for line in lines if "validation" in line]
    found = [line for line in validated if line.get("recall10") is not None]
    if found:
        curves.append(_curve(found, "recall10", title="Validation recall@10", unit="share of texts"))
    return curves


def _curve(
    lines: Sequence[Mapping[str, Any]], key: str, *, title: str, unit: str, level: tuple[float, str] | None = None
) -> Picture:
    """Plots a value over the steps: every step as a light line, the running mean as a dark one.

    Args:
        lines: Lines of ``metrics.jsonl`` that have the key, at least one.
        key: Key of the value.
        title: Title of the figure.
        unit: Label of the vertical axis.
        level: Value and name of a horizontal reference line.
    """
    steps = np.array([line["step"] for line in lines])
    values = np.array([float(line[key]) for line in lines])
    smooth = _running_mean(values, max(1, len(values) // 40))
    marker = "o" if len(steps) <= _FEW_STEPS else ""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(4.6, 2.6)
        axes.plot(steps, values, color=PALETTE[5], linewidth=0.8, alpha=0.6, marker=marker, markersize=3)
        axes.plot(steps, smooth, color=PALETTE[0], linewidth=1.6)
        if level is not None:
            axes.axhline(level[0], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                level[1], (1, level[0]), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
                ha="right", color=GREY,
            )  # fmt: skip
        axes.set_title(title)
        label_steps(axes)
        axes.set_ylabel(unit)
        axes.margins(x=0.01)
        alt = f"{title} over {int(steps[-1])} steps: {values[0]:.4g} at the first, {smooth[-1]:.4g} at the end."
        return picture_of(figure, alt)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Returns the mean of the last ``width`` values at each position, of fewer at the start."""
    sums = np.cumsum(values)
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums - np.where(starts > 0, sums[starts - 1], 0.0)) / (ends - starts)

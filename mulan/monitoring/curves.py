"""Curves of one run or several, overlaid, as pictures of a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np

from mulan.evaluation.report.drawing import PALETTE, STYLE, Picture, label_steps, literal, new_figure, svg_of
from mulan.evaluation.report.score_names import HIDDEN_SCORES, score_name
from mulan.storage.line_values import number, step_of

_MAX_POINTS = 400
"""Maximum number of points of a line; more are averaged, so that a page stays small however long a run is."""
_SMOOTHED_FROM = 60
"""Number of points from which a line is drawn light, below a dark one of its running mean."""
_NOISELESS = ("temperature", "learning_rate")
"""Quantities that are drawn as they are."""
_MAX_SCORES = 8
"""Maximum number of validation scores that are drawn."""
_MAX_CHARACTERS = 60
"""Maximum number of characters of a title or a name in a picture."""

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class CurveGroup:
    """Pictures with a common horizontal axis."""

    title: str
    """Title of the group."""
    pictures: tuple[Picture, ...]
    """The pictures."""


def curve_groups(lines: Mapping[str, Lines], score: str) -> list[CurveGroup]:
    """Draws the curves of runs over steps and, where lines have a ``time``, over hours.

    Args:
        lines: Lines of ``metrics.jsonl`` of each run, by its name.
        score: Name of the selection metric, which is the first of the validation scores.
    """
    lines = {name: _in_order(each) for name, each in lines.items()}
    terms = sorted({key for each in lines.values() for line in each[:1] for key in line if key.startswith("loss_")})
    quantities = [
        ("loss", "Training loss", "nats"),
        *((term, f"Loss term {term.removeprefix('loss_')}", "unweighted") for term in terms if len(terms) > 1),
        *(("validation", name) for name in _scores(lines, score)),
        ("temperature", "Temperature", "temperature (no unit)"),
        ("grad_norm", "Gradient norm before clipping", "L2 norm"),
        ("learning_rate", "Learning rate", "learning rate"),
        ("pairs_per_s", "Throughput", "pairs / s"),
    ]
    over_steps = [_picture(lines, quantity, over_hours=False) for quantity in quantities]
    groups = [CurveGroup("Over steps", tuple(each for each in over_steps if each is not None))]
    over_hours = [_picture(lines, quantity, over_hours=True) for quantity in quantities[:1]]
    over_hours += [_picture(lines, each, over_hours=True) for each in quantities if each[0] == "validation"][:1]
    groups.append(CurveGroup("Over hours", tuple(each for each in over_hours if each is not None)))
    return [group for group in groups if group.pictures]


def _in_order(lines: Lines) -> Lines:
    """Returns the lines of steps in the order of the steps."""
    return sorted((line for line in lines if step_of(line) is not None), key=lambda line: line["step"])


def _scores(lines: Mapping[str, Lines], score: str) -> list[str]:
    """Returns the names of validation scores, the selection metric first, without the numbers of what is scored."""
    names = {
        name
        for each in lines.values()
        for line in each
        if isinstance(line.get("validation"), Mapping)
        for name in line["validation"]
        if name not in HIDDEN_SCORES and not name.startswith("num_")
    }
    return sorted(names, key=lambda name: (name != score, name))[:_MAX_SCORES]


def _picture(lines: Mapping[str, Lines], quantity: tuple[str, ...], *, over_hours: bool) -> Picture | None:
    """Returns the picture of a quantity: a key, a title and a unit, or ``validation`` and the name of a score."""
    is_score = quantity[0] == "validation"
    key, title, unit = (quantity[1], f"Validation {score_name(quantity[1]).label}", "score") if is_score else quantity
    series = {
        name: points
        for name, each in lines.items()
        if len(points := _points(each, key, is_score=is_score, over_hours=over_hours))
    }
    if not series:
        return None
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(4.6, 2.8)
        for place, name in enumerate(lines):
            if name in series:
                _draw(axes, series[name], PALETTE[place % len(PALETTE)], name, is_noisy=key not in _NOISELESS)
        axes.set_title(literal(_shortened(title)))
        if over_hours:
            axes.set_xlabel("hours since the first step")
        else:
            label_steps(axes)
        axes.set_ylabel(unit)
        axes.margins(x=0.01)
        if len(lines) > 1:
            axes.legend(fontsize=7, frameon=False)
        ends = ", ".join(f"{name} {points[-1, 1]:.4g}" for name, points in series.items())
        return Picture(svg_of(figure), f"{title} by {axes.get_xlabel()}; at the end: {ends}.")


def _points(lines: Lines, key: str, *, is_score: bool, over_hours: bool) -> np.ndarray:
    """Returns the finite values of a key over steps or hours, float64 [points, 2], with at most so many points."""
    begun = next((moment for line in lines if (moment := number(line, "time")) is not None), None)
    found = []
    for line in lines:
        values = line.get("validation") if is_score else line
        value = number(values, key) if isinstance(values, Mapping) else None
        moment = number(line, "time")
        hours = None if moment is None or begun is None else (moment - begun) / 3600
        place = hours if over_hours else line["step"]
        if value is not None and place is not None:
            found.append((place, value))
    points = np.array(found, dtype=np.float64).reshape(-1, 2)
    groups = np.array_split(points, min(len(points), _MAX_POINTS)) if len(points) else []
    return np.array([group.mean(axis=0) for group in groups]).reshape(-1, 2)


def _draw(axes: Any, points: np.ndarray, colour: str, name: str, *, is_noisy: bool) -> None:
    x, y = points.T
    if len(points) < _SMOOTHED_FROM:
        axes.plot(x, y, color=colour, linewidth=1.3, marker="o", markersize=2.5, label=_label(name))
        return
    if not is_noisy:
        axes.plot(x, y, color=colour, linewidth=1.5, label=_label(name))
        return
    width = len(points) // 30
    sums = np.cumsum(np.concatenate([[0.0], y]))
    starts = np.maximum(0, np.arange(len(y)) + 1 - width)
    smooth = (sums[1:] - sums[starts]) / (np.arange(len(y)) + 1 - starts)
    axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.35)
    axes.plot(x, smooth, color=colour, linewidth=1.5, label=_label(name))


def _shortened(name: str) -> str:
    """Returns a name that leaves room for the curves."""
    return name if len(name) <= _MAX_CHARACTERS else f"{name[: _MAX_CHARACTERS - 2]} …"


def _label(name: str) -> str:
    """Returns a name for a legend, in which matplotlib neither hides it nor reads it as mathematics."""
    return f"\N{ZERO WIDTH SPACE}{literal(_shortened(name))}"

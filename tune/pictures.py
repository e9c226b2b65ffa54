"""The pictures of a sweep's page: curves, a plot for each field, importances, and the front of several objectives."""

import math
from collections.abc import Iterator, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from mulan.evaluation.report.drawing import GREY, INK, PALETTE, STYLE, Picture, label_steps, literal, new_figure, svg_of
from tune.domains import Domain, NumberInterval, Value, as_text
from tune.importance import Importance
from tune.outcome import Outcome
from tune.points import own_values
from tune.summary import SweepResult, pareto_front

BLUE, ORANGE = PALETTE[0], PALETTE[1]
_LIGHT = "#9aa1ab"
_MAX_NAME = 24
_APART = 0.19
"""The least distance of two labels of an axis, as a part of its interval."""


def curves_picture(result: SweepResult) -> Picture:
    """Draws the figure of every trial over its steps; trials that were stopped or failed end with a cross."""
    objective = result.plan.objective
    shown = [one for one in result.outcomes if one.scores[objective.name]]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(7.4, 3.2)
        for one in sorted(shown, key=lambda one: (_is_marked(result, one), one.state == "completed")):
            steps, values = zip(*one.scores[objective.name], strict=True)
            color, width = _line(result, one)
            axes.plot(steps, values, color=color, linewidth=width, marker="o", markersize=2.5)
            if one.state not in ("completed", "unfinished"):
                axes.plot(steps[-1:], values[-1:], color=color, marker="x", markersize=6, markeredgewidth=1.6)
        _legend(axes, result)
        axes.set_title(f"{objective.label} of every trial")
        label_steps(axes)
        axes.set_ylabel(objective.label)
        alt = (
            f"{objective.label} over the steps of {len(shown)} trial{'s' if len(shown) != 1 else ''}. Those trained to "
            f"the end are blue; {colors_of_marked(result)}; a cross marks the end of those that were stopped or failed."
        )
        return Picture(svg_of(figure), alt)


def colors_of_marked(result: SweepResult) -> str:
    """Returns which colors the best trial and that of the recipe's own values have, which may be one trial."""
    if result.best is result.own:
        return "the best trial, which has the recipe's own values, is orange"
    return "the best trial is orange, the recipe's own values are black"


def _is_marked(result: SweepResult, one: Outcome) -> bool:
    return one is result.best or one is result.own


def _line(result: SweepResult, one: Outcome) -> tuple[str, float]:
    if one is result.best:
        return ORANGE, 2.2
    if one is result.own:
        return INK, 1.6
    return (BLUE, 1.2) if one.state == "completed" else (_LIGHT, 0.9)


def _legend(axes: Axes, result: SweepResult) -> None:
    own_is_best = result.best is result.own
    entries = [(ORANGE, "best, the recipe's own values" if own_is_best else "best")]
    entries += [] if own_is_best else [(INK, "the recipe's own values")]
    entries += [(BLUE, "to the end"), (_LIGHT, "stopped, failed or unfinished")]
    for color, name in entries:
        axes.plot([], [], color=color, linewidth=2, label=name)
    axes.legend(frameon=False, fontsize=8, loc="best")


def field_pictures(result: SweepResult) -> list[tuple[str, Picture]]:
    """Draws the last figure of every trial over the value of each field, on a logarithmic axis if it is log-uniform.

    Returns:
        The description of each field's domain, and the picture; fields at whose values no trial has a figure are left
        out.
    """
    pictures = []
    for field, domain in result.plan.space.domains.items():
        if points := _points(result, field, domain):
            pictures.append((str(domain), _field_picture(result, field, domain, points)))
    return pictures


def _points(result: SweepResult, field: str, domain: Domain) -> list[tuple[Outcome, float, float]]:
    """Returns the trials that have a figure and a value on the axis of a field, each with its place and the figure."""
    own = own_values(result.plan)
    points = []
    for one in result.outcomes:
        value = (own | dict(one.trial.point or {}))[field]
        place, score = _place(domain, value), one.last(result.plan.objective)
        if place is not None and score is not None:
            points.append((one, place, score))
    return points


def _field_picture(
    result: SweepResult, field: str, domain: Domain, points: Sequence[tuple[Outcome, float, float]]
) -> Picture:
    objective = result.plan.objective
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(3.7, 2.7)
        for one, place, score in points:
            color, _ = _line(result, one)
            filled = color if one.state == "completed" else "none"
            above = 2 + _is_marked(result, one)
            axes.plot([place], [score], "o", markersize=6, color=color, markerfacecolor=filled, zorder=above)
        if isinstance(domain, NumberInterval):
            _span(axes, domain, [place for _, place, _ in points])
        else:
            axes.set_xticks(range(len(domain.values)), [_name(value) for value in domain.values])
            axes.set_xlim(-0.5, len(domain.values) - 0.5)
        axes.set_xlabel(field)
        axes.set_ylabel(objective.label)
        alt = f"{objective.label} of every trial over {field}; open circles were not trained to the end."
        return Picture(svg_of(figure), alt)


def _span(axes: Axes, domain: NumberInterval, places: Sequence[float]) -> None:
    """Lets the horizontal axis span an interval, and the recipe's own value if that is outside; labels the bounds."""
    if domain.kind == "loguniform":
        axes.set_xscale("log")
    left, right = min(domain.low, *places), max(domain.high, *places)
    axes.update_datalim([(left, 0), (right, 0)], updatey=False)
    axes.autoscale_view()
    scale = math.log10 if domain.kind == "loguniform" else float
    length = scale(right) - scale(left)
    ticks: list[float] = []
    for tick in (domain.low, domain.high, left, right, *_round_numbers(domain, left, right)):
        if left <= tick <= right and all(abs(scale(tick) - scale(one)) >= _APART * length for one in ticks):
            ticks.append(tick)
    ticks.sort()
    axes.set_xticks(ticks, [f"{tick:.0f}" if domain.kind == "randint" else f"{tick:.4g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _round_numbers(domain: NumberInterval, left: float, right: float) -> Iterator[float]:
    """Yields numbers that may be labelled on an axis, the roundest ones first."""
    if domain.kind == "loguniform":
        decades = range(math.floor(math.log10(left)), math.ceil(math.log10(right)) + 1)
        yield from (float(f"{factor}e{decade}") for factor in (1, 2, 5) for decade in decades)
    else:
        yield from map(float, MaxNLocator(5, integer=domain.kind == "randint").tick_values(left, right))


def _place(domain: Domain, value: Value) -> float | None:
    """Returns where a value is on the axis of its field; None if it is outside of it, as the recipe's own may be."""
    if isinstance(domain, NumberInterval):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and (domain.kind != "loguniform" or value > 0) else None
    return float(domain.values.index(value)) if domain.contains(value) else None


def _name(value: Value) -> str:
    text = as_text(value)
    return literal(text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…")


def parallel_picture(result: SweepResult) -> Picture:
    """Draws every trial as a line through its values of all fields and its figure (parallel coordinates)."""
    plan, own = result.plan, own_values(result.plan)
    objective, fields = plan.objective, list(plan.space.domains)
    scores = [score for one in result.outcomes if (score := one.last(objective)) is not None]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(max(4.6, 1.6 * (len(fields) + 1)), 3.4)
        for one in reversed(result.ranking):
            point = own | dict(one.trial.point or {})
            score = one.last(objective)
            assert score is not None, "ranked trials have a figure"
            heights = [_height(plan.space.domains[field], point[field]) for field in fields]
            heights.append((score - low) / (high - low) if high > low else 0.5)
            color, width = _line(result, one)
            axes.plot(range(len(heights)), heights, color=color, linewidth=width, alpha=0.9)
        names = [*fields, objective.label]
        axes.set_xticks(range(len(names)), [name.replace(".", ".\n") for name in names])
        axes.set_yticks([])
        axes.set_ylim(-0.12, 1.12)
        axes.spines["left"].set_visible(False)
        ends = [*(_ends(plan.space.domains[field]) for field in fields), (f"{low:.3g}", f"{high:.3g}")]
        for place, (bottom, top) in enumerate(ends):
            axes.axvline(place, color=GREY, linewidth=0.8, zorder=0)
            axes.annotate(bottom, (place, -0.03), ha="center", va="top", fontsize=8, color=GREY)
            axes.annotate(top, (place, 1.03), ha="center", va="bottom", fontsize=8, color=GREY)
        axes.grid(visible=False)
        alt = f"The values of {', '.join(fields)} and the {objective.label} of every trial, each as one line."
        return Picture(svg_of(figure), alt)


def _height(domain: Domain, value: Value) -> float:
    """Returns the height of a value on its axis from 0 to 1; not a number, which interrupts the line, outside of it."""
    place = _place(domain, value)
    if place is None:
        return math.nan
    if not isinstance(domain, NumberInterval):
        return place / (len(domain.values) - 1) if len(domain.values) > 1 else 0.5
    low, high = domain.low, domain.high
    if domain.kind == "loguniform":
        place, low, high = math.log(place), math.log(low), math.log(high)
    height = (place - low) / (high - low)
    return height if -0.1 <= height <= 1.1 else math.nan


def _ends(domain: Domain) -> tuple[str, str]:
    if isinstance(domain, NumberInterval):
        return f"{domain.low:.3g}", f"{domain.high:.3g}"
    return _name(domain.values[0]), _name(domain.values[-1])


def importance_picture(importance: Importance) -> Picture:
    """Draws the importance of each field as a bar."""
    fields = list(importance.shares)[::-1]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(5.2, 0.8 + 0.35 * len(fields))
        bars = axes.barh(fields, [importance.shares[field] for field in fields], color=BLUE, height=0.6)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.set_xlim(0, 1.1)
        axes.set_xlabel("share of the variance")
        axes.grid(visible=False)
        described = ", ".join(f"{field} {share:.2f}" for field, share in importance.shares.items())
        return Picture(svg_of(figure), f"Share of the variance that each field explains: {described}.")


def front_picture(result: SweepResult) -> Picture:
    """Draws the first two objectives of every trial, and the front of trials that no other one surpasses."""
    first, second, *_ = result.plan.objectives
    front = pareto_front(result.plan, result.outcomes)
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(5.2, 3.2)
        for one in result.outcomes:
            x, y = one.last(second), one.last(first)
            if x is not None and y is not None:
                is_in_front = any(one is other for other in front)
                color = ORANGE if is_in_front else BLUE if one.state == "completed" else _LIGHT
                axes.plot([x], [y], "o", markersize=6, color=color, markerfacecolor=color if is_in_front else "none")
                if is_in_front:
                    axes.annotate(one.trial.run.name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel(second.label)
        axes.set_ylabel(first.label)
        names = ", ".join(one.trial.run.name for one in front) or "none yet"
        return Picture(svg_of(figure), f"{first.label} over {second.label}; not surpassed: {names}.")

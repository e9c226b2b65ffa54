"""A picture of how scores fall when recordings are corrupted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mulan.evaluation.report.drawing import GREY, PALETTE, STYLE, Picture, literal, picture_of
from mulan.evaluation.report.score_names import SECTION_TITLES, score_name
from mulan.evaluation.report.summary import section_of

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
"""Styles of lines, so that they differ without colours; their number and that of the markers have no common factor."""
_LAST = 5
"""The strength at which intervals are drawn; those at all strengths would hide each other."""
_MAX_PANELS = 12
"""Maximum number of panels that are drawn; the table has all scores."""
_MAX_CHARACTERS = 44
"""Maximum length of the name of a model on a panel, of which the end is shown."""
_PREFIX = "strength_"


def robustness_picture(summary: Mapping[str, Any]) -> Picture | None:
    """Plots scores over the strength of each corruption, a panel for each set of each model.

    Args:
        summary: Content of ``report.json``.

    Returns:
        The picture; None if the report has no scores of robustness.
    """
    panels: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for model, sections in {summary["models"][0]["name"]: summary, **summary["others"]}.items():
        for corrupted in section_of(sections, "robustness").values():
            details = corrupted["details"]
            panels.setdefault((model, details["section"], details["set"], details["score"]), []).append(corrupted)
    shown = dict(list(panels.items())[:_MAX_PANELS])
    if not shown:
        return None
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4 * columns, 2.9 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for empty in axes[len(shown) :]:
            empty.set_visible(False)
        handles: dict[str, Any] = {}
        for panel, ((model, section, name, score), sets) in zip(axes, shown.items(), strict=False):
            handles |= _draw(panel, sets)
            panel.set_title(literal(f"{_short(model)}\n{SECTION_TITLES[section]}: {name}"))
            panel.set_xlabel("strength of the corruption")
            panel.set_ylabel(score_name(score).label)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
        models = ", ".join(dict.fromkeys(model for model, *_ in shown))
        has_intervals = any(each["intervals"].get(f"{_PREFIX}{_LAST}") for sets in shown.values() for each in sets)
        within = f", with 95 % intervals at strength {_LAST}" if has_intervals else ""
        alt = (
            f"Scores of {models} over the strength of corruption, from 0 to 5{within}: {', '.join(handles)}; "
            "grey: chance."
        )
        return picture_of(figure, alt)


def _draw(panel: Axes, sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Draws a line for each corruption and returns the lines by its title."""
    handles = {}
    for number, corrupted in enumerate(sets):
        strengths = sorted(int(key.removeprefix(_PREFIX)) for key in corrupted if key.startswith(_PREFIX))
        values = [corrupted[f"{_PREFIX}{strength}"] for strength in strengths]
        colour = PALETTE[number % len(PALETTE)]
        (handles[corrupted["details"]["corruption"]],) = panel.plot(
            strengths,
            [math.nan if value is None else value for value in values],
            color=colour,
            linestyle=_LINES[number % len(_LINES)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.2,
        )
        interval = corrupted["intervals"].get(f"{_PREFIX}{_LAST}")
        if interval:
            # beside each other, so that none hides another
            panel.plot([_LAST + 0.08 * (number + 1)] * 2, interval, color=colour, marker="_", linewidth=1.2)
    chance = sets[0]["details"].get("chance", {}).get(f"{_PREFIX}0")
    if chance is not None:
        panel.axhline(chance, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    return handles


def _short(name: str) -> str:
    return name if len(name) <= _MAX_CHARACTERS else f"…{name[1 - _MAX_CHARACTERS :]}"

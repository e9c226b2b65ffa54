"""A picture of how scores fall when recordings are corrupted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mulan.evaluation.report.drawing import GREY, PALETTE, STYLE, Picture, svg_of
from mulan.evaluation.report.score_names import SECTION_TITLES, score_name
from mulan.evaluation.report.summary import section_of

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MAX_PANELS = 12
"""Maximum number of sets that are drawn; the table has all."""
_PREFIX = "strength_"


def robustness_picture(summary: Mapping[str, Any]) -> Picture | None:
    """Plots the scores of the first model over the strength of each corruption, a panel for each set.

    Args:
        summary: Content of ``report.json``.

    Returns:
        The picture; None if the report has no scores of robustness.
    """
    panels: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for found in section_of(summary, "robustness").values():
        details = found["details"]
        panels.setdefault((details["section"], details["set"], details["score"]), []).append(found)
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
        for panel, ((section, name, score), sets) in zip(axes, shown.items(), strict=False):
            handles |= _draw(panel, sets)
            panel.set_title(f"{SECTION_TITLES[section]}: {name}".replace("$", r"\$"))
            panel.set_xlabel("strength of the corruption")
            panel.set_ylabel(score_name(score).label)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
        alt = f"Scores over the strength of corruption, from 0 to 5: {', '.join(handles)}; dashed: chance."
        return Picture(svg_of(figure), alt)


def _draw(panel: Axes, sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Draws a line for each corruption and returns the lines by its title."""
    handles = {}
    for number, found in enumerate(sets):
        strengths = sorted(int(key.removeprefix(_PREFIX)) for key in found if key.startswith(_PREFIX))
        values = [found[f"{_PREFIX}{strength}"] for strength in strengths]
        (handles[found["details"]["corruption"]],) = panel.plot(
            strengths,
            [math.nan if value is None else value for value in values],
            color=PALETTE[number % len(PALETTE)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.2,
        )
    chance = sets[0]["details"].get("chance", {}).get(f"{_PREFIX}0")
    if chance is not None:
        panel.axhline(chance, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    return handles

"""The page that compares runs: one HTML file that contains its pictures, and fetches nothing."""

import time
from collections.abc import Sequence

from mulan.evaluation.report.drawing import PALETTE, PICTURE_FILTERS
from mulan.monitoring.comparison import ComparedRun, differing_rows, evaluation_tables, fact_rows
from mulan.monitoring.curves import curve_groups
from mulan.pages.rendering import render


def comparison_page(runs: Sequence[ComparedRun], *, now: float) -> str:
    """Renders the page that compares runs.

    Args:
        runs: The runs, at least one, of distinct names.
        now: Present time as a Unix time in seconds.
    """
    names = [run.status.name for run in runs]
    return render(
        "mulan.monitoring",
        "comparison_template.html",
        PICTURE_FILTERS,
        names=names,
        colours=[PALETTE[place % len(PALETTE)] for place in range(len(names))],
        differing=differing_rows(runs),
        facts=fact_rows(runs, now=now),
        groups=curve_groups({run.status.name: run.lines for run in runs}, runs[0].recipe.selection_metric.name),
        tables=evaluation_tables(runs),
        notes={run.status.name: run.note for run in runs if run.note},
        written=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)),
    )

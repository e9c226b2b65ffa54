"""Renders the page of a run that is being trained: one HTML file that contains its pictures, and fetches nothing."""

import shlex
import time

from mulan.evaluation.report.drawing import PICTURE_FILTERS
from mulan.monitoring.curves import curve_groups
from mulan.monitoring.live_report import LiveContent
from mulan.monitoring.status import RunState
from mulan.monitoring.terminal import duration, status_facts
from mulan.pages.rendering import render

_NONE = "\N{EN DASH}"
REFRESH_S = 30
"""Seconds after which a browser loads the page of a running run again."""


def render_live(content: LiveContent, *, now: float) -> str:
    """Renders the page; all texts are escaped.

    Args:
        content: What the page shows.
        now: Present time as a Unix time in seconds.
    """
    status = content.status
    run = status.run
    place = f"--storage {shlex.quote(run.storage_uri)} --name {shlex.quote(run.name)}"
    return render(
        "mulan.monitoring",
        "live_template.html",
        {
            **PICTURE_FILTERS,
            "moment": lambda moment: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(max(moment, 0.0), 1e11))),
        },
        status=status,
        name=run.name,
        cards=_cards(content),
        facts=status_facts(status, now=now),
        groups=curve_groups({status.name: content.lines.lines}, content.score),
        events=list(reversed(content.events)),
        recipe_toml=content.recipe_toml,
        evaluate=f"python -m jobs.evaluate {place}" if status.state is RunState.FINISHED else "",
        refresh_s=None if status.state.is_over else REFRESH_S,
        now=now,
    )


def _cards(content: LiveContent) -> list[tuple[str, str, str]]:
    """Returns what is at the head of the page: title, value, and what else is to say about it."""
    status = content.status
    share = f"{status.step / status.steps:.0%} of {status.steps:,} steps" if status.steps else ""
    left = duration(status.left_s) if status.left_s is not None else _NONE
    best = f"best {status.best_score:.3f} at step {status.best_step:,}" if status.best_score is not None else ""
    return [
        ("step", f"{status.step:,}", share),
        ("left", left, f"{status.pairs_per_s:.1f} pairs/s" if status.pairs_per_s else ""),
        ("loss", f"{status.loss:.3f}" if status.loss is not None else _NONE, "of the last step"),
        (status.score_name, f"{status.score:.3f}" if status.score is not None else _NONE, best),
    ]

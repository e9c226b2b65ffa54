"""A map of recordings in two dimensions, in which groups have markers and names, so that it reads without colours."""

from collections import Counter

import matplotlib as mpl
import numpy as np

from mulan.evaluation.recordings import EmbeddedRecordings
from mulan.evaluation.report.drawing import GREY, INK, PALETTE, STYLE, Picture, literal, new_figure, picture_of
from mulan.evaluation.report.plane import on_plane
from mulan.evaluation.report.tag_groups import tag_groups

MIN_RECORDINGS = 5
"""Minimum number of recordings of a map."""
_MAX_POINTS = 2000
"""Maximum number of recordings on the map; of more, some are drawn at random."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def embedding_map(audio: EmbeddedRecordings, *, title: str, seed: int = 0) -> Picture:
    """Plots a t-SNE map of recordings, grouped by their most frequent tags of one category.

    The category is ``genre`` if there is one, or else the one that most recordings have a tag of.

    Args:
        audio: The recordings, at least :data:`MIN_RECORDINGS`.
        title: What the map is of, such as the task and the model.
        seed: Seed of the choice of recordings and of the map.
    """
    chosen = np.arange(len(audio.recordings))
    if len(chosen) > _MAX_POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, _MAX_POINTS, replace=False))
    shown = audio.select(chosen)
    category, groups = tag_groups([each.tags for each in shown.recordings])
    points = on_plane(shown.means, seed=seed)
    names = [name for name, _ in Counter(filter(None, groups)).most_common()]
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = new_figure(6.4, 5.4)
        rest = points[[row for row, group in enumerate(groups) if not group]]
        axes.scatter(rest[:, 0], rest[:, 1], s=8, color=GREY, marker=".", alpha=0.7, linewidths=0)
        for number, name in enumerate(names):
            own = points[[row for row, group in enumerate(groups) if group == name]]
            colour, marker = PALETTE[number % len(PALETTE)], _MARKERS[number]
            label = literal(name)
            axes.scatter(own[:, 0], own[:, 1], s=24, color=colour, marker=marker, alpha=0.8, linewidths=0, label=label)
            axes.annotate(
                label, np.median(own, axis=0), ha="center", va="center", color=INK,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.9},
            )  # fmt: skip
        if names:
            figure.legend(loc="outside lower center", ncols=min(5, len(names)), frameon=False, fontsize=8)
        axes.set_title(literal(title))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("t-SNE 1 (no unit)")
        axes.set_ylabel("t-SNE 2 (no unit)")
        grouped = f", grouped by {category}: {', '.join(names)}" if names else ""
        of = f"{len(chosen)} of {len(audio.recordings)}" if len(chosen) < len(audio.recordings) else f"{len(chosen)}"
        return picture_of(figure, f"{title}: map of the vectors of {of} recordings{grouped}.")

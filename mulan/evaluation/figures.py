"""The report's figures, each a self-contained SVG. The palette suits colour-blind readers (Okabe and Ito)."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.evaluate import Evaluation
from mulan.evaluation.report.drawing import GREY, INK, PALETTE, STYLE, Picture, new_figure, svg_of

MARKERS = ("o", "s", "^", "D", "v")
UNLABELLED = "no genre"

_MAX_ROWS = 400
"""Maximum number of recordings in a similarity matrix; larger splits are thinned out evenly."""
_MAX_POINTS = 3000
"""Maximum number of recordings on the map."""


def curve(
    lines: Sequence[Mapping[str, Any]], key: str, *, title: str, unit: str, level: tuple[float, str] | None = None
) -> Picture:
    """Plots a value of ``metrics.jsonl`` over the steps: every step as a light line, the running mean as a dark one.

    Args:
        lines: Lines that have the key, at least one.
        key: Key of the value.
        title: Title of the figure.
        unit: Label of the vertical axis.
        level: Value and name of a horizontal reference line.
    """
    steps = np.array([line["step"] for line in lines])
    values = np.array([float(line[key]) for line in lines])
    smooth = _running_mean(values, max(1, len(values) // 40))
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(4.6, 2.6)
        axes.plot(
            steps,
            values,
            color=PALETTE[5],
            linewidth=0.8,
            alpha=0.6,
            marker="o" if len(steps) <= 40 else "",
            markersize=3,
        )
        axes.plot(steps, smooth, color=PALETTE[0], linewidth=1.6)
        if level is not None:
            axes.axhline(level[0], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                level[1], (1, level[0]), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
                ha="right", color=GREY,
            )  # fmt: skip
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.margins(x=0.01)
        alt = f"{title} over {int(steps[-1])} steps: {values[0]:.4g} at the first, {smooth[-1]:.4g} at the end."
        return Picture(svg_of(figure), alt)


def tag_similarity(evaluation: Evaluation) -> Picture:
    """Plots the cosine similarities of recordings (rows, by genre) and all tag texts (columns, by category)."""
    order, genres = _by_genre(evaluation)
    columns = [(category, text) for category in _ordered(evaluation.prompts) for text in evaluation.prompts[category]]
    vectors = np.stack([evaluation.prompts[category][text] for category, text in columns])
    similarity = evaluation.recordings.embeddings[order] @ vectors.T
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(9.4, 5.6)
        _matrix(figure, axes, similarity, genres)
        axes.set_xticks(
            range(len(columns)), [text for _, text in columns], rotation=90, fontsize=_fitting(len(columns))
        )
        categories = [category for category, _ in columns]
        for start, end in _runs(categories):
            if start:
                axes.axvline(start - 0.5, color="white", linewidth=2.5)
            axes.text(
                (start + end - 1) / 2, -0.8, categories[start], ha="center", va="bottom", weight="bold", color=INK
            )
        axes.set_xlabel("tag text")
        alt = f"Cosine similarity of {len(order)} recordings, ordered by genre, and {len(columns)} tag texts."
        return Picture(svg_of(figure), alt)


def caption_similarity(evaluation: Evaluation) -> Picture:
    """Plots the cosine similarities of recordings and one caption of each, by genre; pairs lie on the diagonal."""
    captions: dict[int, int] = {}
    for row, gold in enumerate(evaluation.query_gold):
        for position in gold:
            captions.setdefault(position, row)
    order, genres = _by_genre(evaluation, among=sorted(captions))
    texts = evaluation.query_embeddings[[captions[position] for position in order]]
    similarity = evaluation.recordings.embeddings[order] @ texts.T
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(5.4, 4.9)
        _matrix(figure, axes, similarity, genres)
        runs = _runs(genres)
        for start, _ in runs[1:]:
            axes.axvline(start - 0.5, color="white", linewidth=0.8)
        axes.set_xticks(
            [(start + end - 1) / 2 for start, end in runs],
            [genres[start] for start, _ in runs],
            rotation=90,
            fontsize=_fitting(2 * len(runs)),
        )
        axes.set_xlabel("a caption of each recording, in the same order")
        alt = f"Cosine similarity of {len(order)} recordings and a caption of each, both ordered by genre."
        return Picture(svg_of(figure), alt)


def embedding_map(evaluation: Evaluation) -> Picture:
    """Plots a t-SNE map of the audio embeddings, coloured by genre, with genre names at the median positions."""
    order, genres = _by_genre(evaluation, max_count=_MAX_POINTS)
    vectors = evaluation.recordings.embeddings[order].astype(np.float64)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(vectors)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = new_figure(5.4, 4.9)
        for number, genre in enumerate(dict.fromkeys(genres)):
            own = points[[position for position, other in enumerate(genres) if other == genre]]
            colour = GREY if genre == UNLABELLED else PALETTE[number % len(PALETTE)]
            axes.scatter(
                own[:, 0],
                own[:, 1],
                s=26,
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                alpha=0.8,
                linewidths=0,
                label=genre,
            )
            axes.annotate(
                genre, np.median(own, axis=0), ha="center", va="center", color=INK,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.85},
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("t-SNE 1 (no unit)")
        axes.set_ylabel("t-SNE 2 (no unit)")
        alt = f"Map of {len(order)} audio embeddings, coloured by genre: {', '.join(dict.fromkeys(genres))}."
        return Picture(svg_of(figure), alt)


def _matrix(figure: Figure, axes: Axes, similarity: np.ndarray, genres: Sequence[str]) -> None:
    """Draws a similarity matrix with rows grouped by genre; the colours span the middle 98 % of the values."""
    low, high = np.percentile(similarity, [1, 99])
    image = axes.imshow(similarity, aspect="auto", cmap="cividis", vmin=low, vmax=high, interpolation="nearest")
    runs = _runs(genres)
    for start, _ in runs[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=0.8)
    middles = [(start + end - 1) / 2 for start, end in runs]
    axes.set_yticks(middles, [genres[start] for start, _ in runs], fontsize=_fitting(len(runs)))
    axes.set_ylabel("recordings")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.6, extend="both")
    bar.outline.set_visible(False)


def _by_genre(
    evaluation: Evaluation, *, among: Sequence[int] | None = None, max_count: int = _MAX_ROWS
) -> tuple[list[int], list[str]]:
    """Returns indices of recordings ordered by genre, evenly thinned out to ``max_count``, and their genres."""
    tags = evaluation.recordings.tags
    genres = [
        next((text for category, text in map(split_tag, recording_tags) if category == "genre"), UNLABELLED)
        for recording_tags in tags
    ]
    order = sorted(range(len(tags)) if among is None else among, key=lambda position: (genres[position], position))
    if len(order) > max_count:
        order = [order[position] for position in np.linspace(0, len(order) - 1, max_count).round().astype(int)]
    return order, [genres[position] for position in order]


def _ordered(categories: Mapping[str, Any]) -> list[str]:
    """Sorts categories with genre first, since the rows are ordered by genre."""
    return sorted(categories, key=lambda category: (category != "genre", category))


def _runs(values: Sequence[str]) -> list[tuple[int, int]]:
    """Returns start and end (exclusive) of each run of equal values."""
    starts = [position for position, value in enumerate(values) if not position or value != values[position - 1]]
    return list(zip(starts, [*starts[1:], len(values)], strict=True))


def _fitting(columns: int) -> float:
    """Returns the font size in points at which ``columns`` labels fit along an edge of the tag matrix."""
    return float(np.clip(480 / columns, 3, 9))


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Returns the mean of the last ``width`` values at each position, of fewer at the start."""
    sums = np.cumsum(values)
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (sums - np.where(starts > 0, sums[starts - 1], 0.0)) / (ends - starts)

"""Making the overview of an index: counts of tags, texts to search for, and the positions of recordings on a map."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.report.plane import on_plane
from mulan.evaluation.report.tag_groups import tag_groups
from mulan.search.overview import MAX_EXAMPLES, MapPoint, Overview, TagCount
from mulan.search.rows import WINDOWS
from mulan.search.table import RecordingTable

MAX_TAGS = 200
"""Maximum number of tags that are listed."""
MAX_POINTS = 2000
"""Maximum number of recordings on the map; of more, some are drawn at random."""
MIN_POINTS = 5
"""Minimum number of recordings of a map."""
_CATEGORIES_OF_EXAMPLES = 3
_BYTES_PER_NUMBER = 2
"""Size of a number of the vector of a window."""
_MARGIN = 0.02
"""Distance of the outermost points from the edge of the map."""


def overview_of(table: RecordingTable, *, seed: int = 0) -> Overview:
    """Makes the overview of a table, in memory that holds one column of it at a time.

    Args:
        table: The table of an index.
        seed: Seed of the choice of recordings on the map, and of their positions.
    """
    counts: Counter[str] = Counter()
    for chunk in table.column("tags").chunks:
        found = pc.value_counts(chunk.flatten())
        counts.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
    # in alphabetical order within equal counts, so that the order of recordings does not matter
    tags = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_TAGS]
    windows = 0
    if table.has_windows:
        windows = table.byte_count(WINDOWS) // (table.dim * _BYTES_PER_NUMBER)
    category, points = _map(table, seed)
    return Overview(
        version=table.version,
        recordings=table.count(),
        windows=windows,
        tags=tuple(TagCount(tag=tag, recordings=count) for tag, count in tags),
        examples=_examples([tag for tag, _ in tags]),
        map_category=category,
        map_points=points,
    )


def _examples(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns texts of one tag each of up to three categories, such as ``happy rock piano``."""
    by_category: dict[str, list[str]] = {}
    for tag in tags:
        category, text = split_tag(tag)
        by_category.setdefault(category, []).append(text)
    chosen = list(by_category.values())[:_CATEGORIES_OF_EXAMPLES]
    number = min(MAX_EXAMPLES, max(map(len, chosen), default=0))
    return tuple(" ".join(texts[row % len(texts)] for texts in reversed(chosen)) for row in range(number))


def _map(table: RecordingTable, seed: int) -> tuple[str, tuple[MapPoint, ...]]:
    ids = table.column("recording_id")
    if len(ids) < MIN_POINTS:
        return "", ()
    order = pc.sort_indices(ids)  # so that the map does not depend on the order in which they were added
    if len(ids) > MAX_POINTS:
        order = order.take(np.sort(np.random.default_rng(seed).choice(len(ids), MAX_POINTS, replace=False)))
    names = ids.take(order).to_pylist()
    found = table.with_ids(names)
    rows = [found[name] for name in names]
    category, groups = tag_groups([row.tags for row in rows])
    places = _within_margins(on_plane(np.stack([row.vector for row in rows]), seed=seed))
    return category, tuple(
        MapPoint(recording_id=row.recording_id, title=row.title or row.recording_id, x=x, y=y, group=group)
        for row, group, (x, y) in zip(rows, groups, places.tolist(), strict=True)
    )


def _within_margins(points: np.ndarray) -> np.ndarray:
    """Returns points, [n, 2], scaled so that they fill a square of 1 but for its margins."""
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    unit = (points - low) / np.where(span > 0, span, 1)
    scaled: np.ndarray = np.clip(_MARGIN + (1 - 2 * _MARGIN) * unit.astype(np.float64), 0, 1)
    return scaled

"""Curves in a terminal, drawn with the dots of braille characters."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character from U+2800 on, by column and row from the top."""
_BLANK = 0x2800


def curve_lines(points: Sequence[tuple[float, float]], *, width: int, height: int) -> list[str]:
    """Draws values over steps as lines of text, with the largest and the smallest value beside them.

    Each column of dots shows the mean of the values in its range of steps, and ranges without values are bridged.

    Args:
        points: Steps in any order, and values, which :func:`mulan.storage.line_values.number` takes.
        width: Number of characters of the curve, at least 1.
        height: Number of lines, at least 1.

    Returns:
        The lines from the top; none without points.
    """
    if not points:
        return []
    columns = _columns(sorted(points, key=lambda point: point[0]), 2 * width)
    low, high = min(value for _, value in columns), max(value for _, value in columns)
    rows = 4 * height
    cells = [[_BLANK] * width for _ in range(height)]
    for column, row in _connected([(column, _row(value, low, high, rows)) for column, value in columns]):
        cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
    labels = [f"{high:.4g}", *[""] * (height - 1)]
    if high > low and height > 1:
        labels[-1] = f"{low:.4g}"
    size = max(map(len, labels))
    return [
        f"{label:>{size}} {''.join(map(chr, line)).rstrip(chr(_BLANK))}"
        for label, line in zip(labels, cells, strict=True)
    ]


def _columns(points: Sequence[tuple[float, float]], count: int) -> list[tuple[int, float]]:
    """Returns the mean of the values in each column that has some."""
    first, last = points[0][0], points[-1][0]
    sums: dict[int, list[float]] = {}
    for step, value in points:
        column = min(count - 1, int((step - first) / (last - first) * count)) if last > first else 0
        sums.setdefault(column, []).append(value)
    return [(column, math.fsum(values) / len(values)) for column, values in sorted(sums.items())]


def _row(value: float, low: float, high: float, rows: int) -> int:
    return rows // 2 if high == low else round((high - value) / (high - low) * (rows - 1))


def _connected(dots: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yields the dots, and those on the straight lines between neighbours."""
    yield dots[0]
    for (column, row), (to_column, to_row) in pairwise(dots):
        length = max(to_column - column, abs(to_row - row))
        for place in range(1, length + 1):
            share = place / length
            yield round(column + share * (to_column - column)), round(row + share * (to_row - row))

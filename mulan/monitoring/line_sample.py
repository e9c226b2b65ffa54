"""A bounded sample of the lines of a run's metrics, from which curves are drawn, however long the run is."""

from collections.abc import Iterable, Mapping
from typing import Any

from mulan.storage.line_values import step_of

MAX_LINES = 4000


class LineSample:
    """Keeps at most so many lines, evenly over the steps; lines with a validation are kept longer than others."""

    def __init__(self, max_lines: int = MAX_LINES) -> None:
        self._max_lines, self._every = max_lines, 1
        self._lines: list[Mapping[str, Any]] = []

    @property
    def lines(self) -> list[Mapping[str, Any]]:
        """The lines in the order of their steps."""
        return list(self._lines)

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines that follow; a run that resumes repeats steps, whose earlier lines are dropped."""
        for line in lines:
            step = step_of(line)
            if step is None:
                continue
            while self._lines and self._lines[-1]["step"] >= step:
                self._lines.pop()
            if step % self._every == 0 or "validation" in line:
                self._lines.append(line)
            if len(self._lines) > self._max_lines:
                self._thin()

    def _thin(self) -> None:
        self._every *= 2
        kept = [line for line in self._lines if line["step"] % self._every == 0 or "validation" in line]
        is_short = 4 * len(kept) <= 3 * self._max_lines
        self._lines = kept if is_short else kept[::2]  # almost all are validations

"""Published figures of other models, with their sources, and whether they were measured as a report measures.

They are in ``published.toml``, one table for each protocol. Only figures that were read in the named table or file are
listed.
"""

import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, with_config

from mulan.config.base import Fraction
from mulan.evaluation.protocols.protocol import SECTIONS

_FILE = Path(__file__).with_name("published.toml")
_Text = Annotated[str, Field(min_length=1)]
_Scores = Annotated[dict[_Text, Fraction], Field(min_length=1)]


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of a model as it was published."""

    section: str
    """Section of our report, one of :data:`mulan.evaluation.protocols.protocol.SECTIONS`."""
    set_name: str
    """Name of the set of our report that it stands beside, such as ``mtat_top50_annotated``."""
    score: str
    """Name of the score, such as ``roc_auc``."""
    model: str
    """Name of the model, and of its variant."""
    value: float
    """The score, in [0, 1], rounded as it was published."""
    source: str
    """Paper and table, or repository and file."""
    protocol: str
    """How it was measured, in a few words."""
    difference: str
    """Why it is not comparable with our report; empty if it is."""

    @property
    def is_comparable(self) -> bool:
        """Whether its protocol is that of our report, as far as it is published."""
        return not self.difference


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class _Table:
    """A table of the file: figures of one protocol."""

    section: str
    sets: Annotated[tuple[_Text, ...], Field(min_length=1)]
    source: _Text
    protocol: _Text
    values: Annotated[dict[_Text, _Scores], Field(min_length=1)]
    difference: str = ""


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Returns all published figures, in the order of the file."""
    return parse(_FILE.read_text(encoding="utf-8"))


def figures_of(section: str, set_name: str, score: str) -> tuple[PublishedFigure, ...]:
    """Returns the published figures that stand beside a score of a set, comparable ones first, each by falling value.

    Example:
        >>> [(figure.model, figure.value) for figure in figures_of("probes", "giantsteps", "weighted_score")][:2]
        [('MERT-330M', 0.656), ('MuQ-iter', 0.65)]
    """
    found = [
        each for each in published_figures() if (each.section, each.set_name, each.score) == (section, set_name, score)
    ]
    return tuple(sorted(found, key=lambda each: (not each.is_comparable, -each.value)))


def parse(text: str) -> tuple[PublishedFigure, ...]:
    """Returns the figures of a file.

    Args:
        text: Content of a file such as ``published.toml``.

    Raises:
        ValueError: The file is not valid: a field is missing, unknown or empty, a section does not exist, a value is
            not in [0, 1], or a figure of a model is listed twice.
    """
    figures = tuple(
        PublishedFigure(table.section, name, score, model, value, table.source, table.protocol, table.difference)
        for table in TypeAdapter(list[_Table]).validate_python(tomllib.loads(text)["table"])
        for name in table.sets
        for model, scores in table.values.items()
        for score, value in scores.items()
    )
    faults = [f"there is no section {name}" for name in sorted({each.section for each in figures} - set(SECTIONS))]
    counts = Counter((each.section, each.set_name, each.score, each.model) for each in figures)
    faults += [f"{' '.join(key)} is listed {count} times" for key, count in counts.items() if count > 1]
    if faults:
        raise ValueError("; ".join(faults))
    return figures

"""Published figures of other models, with their sources, what they were measured on, and how that differs from ours.

They are in ``published.toml``, one table for each protocol. Only figures that were read in the named table or file are
listed.
"""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

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
    difference: str = ""
    """How its protocol differs from that of our report; empty if it is the same, as far as it is published."""
    recordings: int | None = None
    """Number of recordings that it was measured on; None if it is unknown."""
    templates: tuple[str, ...] | None = None
    """Templates of its prompts; None if they are unknown, or if there are no prompts."""
    split: str = "test"
    """Split of the recordings that it was measured on."""

    def differences_from(self, counts: Mapping[str, int], details: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns what is different about a set of our report, as reasons in words; nothing if it is comparable.

        Args:
            counts: The set's numbers of ``recordings``, ``tags`` and ``scored_tags``, as far as it has them.
            details: The set's ``templates`` by category, and its ``split``, as far as it has them.
        """
        reasons = [self.difference] if self.difference else []
        recordings, tags, scored = (counts.get(name) for name in ("recordings", "tags", "scored_tags"))
        if None not in (self.recordings, recordings) and recordings != self.recordings:
            reasons.append(f"ours is of {recordings:,} recordings, not {self.recordings:,}")
        if None not in (scored, tags) and scored != tags:
            reasons.append(f"ours is of {scored} of {tags} tags")
        ours = {tuple(templates) for templates in details.get("templates", {}).values()}
        if self.templates is not None and ours - {self.templates}:
            quoted = " and ".join(_quoted(templates) for templates in sorted(ours))
            reasons.append(f"our prompts are {quoted}, not {_quoted(self.templates)}")
        if details.get("split", self.split) != self.split:
            reasons.append(f"ours is of the split {details['split']}")
        return tuple(reasons)


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
    shared_difference: str = ""
    """Name of a text of ``[differences]``, which several tables have in common."""
    recordings: Annotated[int, Field(gt=0)] | None = None
    templates: Annotated[tuple[_Text, ...], Field(min_length=1)] | None = None
    split: _Text = "test"


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Returns all published figures, in the order of the file."""
    return parse(_FILE.read_text(encoding="utf-8"))


def parse(text: str) -> tuple[PublishedFigure, ...]:
    """Returns the figures of a file.

    Args:
        text: Content of a file such as ``published.toml``.

    Raises:
        ValueError: The file is not valid: a field is missing, unknown or empty, a section does not exist, a value is
            not in [0, 1], a shared difference does not exist, a figure of a model is listed twice, or a table without a
            difference does not state what our figures must have been measured on to be comparable.
    """
    content = tomllib.loads(text)
    tables = TypeAdapter(list[_Table]).validate_python(content["table"])
    shared = TypeAdapter(dict[str, _Text]).validate_python(content.get("differences", {})) | {"": ""}
    figures = tuple(
        PublishedFigure(
            table.section, name, score, model, value, table.source, table.protocol,
            "; ".join(filter(None, (table.difference, shared.get(table.shared_difference)))),
            table.recordings, table.templates, table.split,
        )
        for table in tables
        for name in table.sets
        for model, scores in table.values.items()
        for score, value in scores.items()
    )  # fmt: skip
    faults = [f"there is no section {name}" for name in sorted({each.section for each in figures} - set(SECTIONS))]
    absent = {table.shared_difference for table in tables} - set(shared)
    faults += [f"there is no shared difference {name}" for name in sorted(absent)]
    faults += [
        f"{table.source} needs {what}, since it states no difference"
        for table in tables
        if not (table.difference or table.shared_difference)
        for what, is_missing in {
            "recordings": table.recordings is None,
            "templates": table.section == "zero_shot" and table.templates is None,
        }.items()
        if is_missing
    ]
    counts = Counter((each.section, each.set_name, each.score, each.model) for each in figures)
    faults += [f"{' '.join(key)} is listed {count} times" for key, count in counts.items() if count > 1]
    if faults:
        raise ValueError("; ".join(faults))
    return figures


def _quoted(templates: Sequence[str]) -> str:
    return ", ".join(f"“{template}”" for template in templates)

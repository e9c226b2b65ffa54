"""The tables of classes of a page: the recall of each with a bar, and what it is mistaken for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.summary import section_of
from mulan.evaluation.report.tag_tables import MARKERS


@dataclass(frozen=True)
class ClassRow:
    """A class."""

    name: str
    """The class as it is shown."""
    recall: float
    """Share of its recordings that the first model finds, in [0, 1]."""
    interval: tuple[float, float] | None
    """Its 95 % interval."""
    recordings: int
    """Number of its recordings."""
    mistaken_for: str
    """The class that it is most often mistaken for; empty if it is never mistaken."""
    others: tuple[float | None, ...]
    """Recall of the further models."""


@dataclass(frozen=True)
class ClassTableView:
    """The classes of a set, by falling recall of the first model."""

    section: str
    """Path of the section."""
    set_name: str
    """Name of the set."""
    others: tuple[tuple[str, str], ...]
    """Further models that have scored the classes, each with its marker."""
    rows: tuple[ClassRow, ...]
    """The classes."""


def class_tables(summary: Mapping[str, Any]) -> Iterator[ClassTableView]:
    """Yields the table of each set of the first model whose details have ``classes``.

    Args:
        summary: Content of ``report.json``.
    """
    for section in SECTIONS:
        for name, scored in section_of(summary, section).items():
            rows = scored["details"].get("classes")
            if rows:
                others = {
                    model: {row["tag"]: row["recall"] for row in sets[name]["details"].get("classes") or ()}
                    for model, other in summary["others"].items()
                    if name in (sets := section_of(other, section))
                }
                yield _view(section, name, rows, {model: recalls for model, recalls in others.items() if recalls})


def _view(
    section: str, name: str, rows: Sequence[Mapping[str, Any]], others: Mapping[str, Mapping[str, float]]
) -> ClassTableView:
    ordered = sorted(rows, key=lambda row: (-row["recall"], row["tag"]))
    markers = [MARKERS[number % len(MARKERS)] for number in range(len(others))]
    return ClassTableView(
        section,
        name,
        tuple(zip(others, markers, strict=True)),
        tuple(
            ClassRow(
                name=split_tag(row["tag"])[1],
                recall=row["recall"],
                interval=(row["recall_interval"][0], row["recall_interval"][1]) if row["recall_interval"] else None,
                recordings=row["recordings"],
                mistaken_for=split_tag(row["mistaken_for"])[1] if row["mistaken_for"] else "",
                others=tuple(recalls.get(row["tag"]) for recalls in others.values()),
            )
            for row in ordered
        ),
    )

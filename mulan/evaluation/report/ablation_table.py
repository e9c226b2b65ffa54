"""The tables of a text ablation in the layout of MuLan's tables 4b, 4c, 5 and 6, with published figures beside ours.

Rows are the variants, columns the sets that were evaluated. Sets that the paper has none of follow in tables of their
own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.published import PublishedFigure
from mulan.evaluation.report.score_names import SECTION_TITLES, score_name
from mulan.evaluation.report.summary import scores_of, section_of
from mulan.evaluation.tasks.registry import TASKS_OF_FILES


@dataclass(frozen=True)
class AblationVariant:
    """A variant of the ablation, which is a row of its tables."""

    name: str
    """Name of its model in the report."""
    texts: str
    """The sources of texts that it was trained with."""
    published: str
    """Name of the model in published figures; they may have none for it."""
    run: str
    """URI of its run."""
    steps: int | None
    """Number of steps that its model was trained for; None if it is missing or unknown."""
    missing: str = ""
    """Why it is not evaluated; empty if it is."""


@dataclass(frozen=True)
class Ablation:
    """What the models of a report are variants of."""

    recipe: str
    """Name of the recipe with all texts."""
    variants: tuple[AblationVariant, ...]
    """The variants in the order of the tables, also those that are missing."""


@dataclass(frozen=True)
class _PaperColumn:
    """A column of a table of the paper."""

    label: str
    section: str
    sets: tuple[str, ...]
    """Our sets that the column stands for: readings of a protocol that the paper does not state in full."""
    score: str
    task: str
    """Name of the task that evaluates the sets."""


@dataclass(frozen=True)
class _PaperTable:
    number: str
    """Number in the paper."""
    title: str
    columns: tuple[_PaperColumn, ...]


_TAGGING = (
    ("AudioSet Gen-25", ("audioset_gen25",), "audioset"),
    ("AudioSet Mu-141", ("audioset_mu141_without_roles", "audioset_mu141_without_moods"), "audioset"),
    ("MTAT Top-50", ("mtat_top50_annotated", "mtat_top50_tagged"), "mtat"),
    ("MTAT All-188", ("mtat_188_annotated", "mtat_188_tagged"), "mtat"),
)
_PAPER_TABLES = (
    _PaperTable(
        "4b",
        "zero-shot tagging",
        tuple(_PaperColumn(name, "zero_shot", sets, "roc_auc", t) for name, sets, t in _TAGGING),
    ),
    _PaperTable(
        "4c", "linear probes", tuple(_PaperColumn(name, "probes", sets, "roc_auc", t) for name, sets, t in _TAGGING)
    ),
    _PaperTable(
        "5",
        "music retrieval by playlists",
        tuple(
            _PaperColumn(label, "retrieval.playlists", (queries,), score, "playlists")
            for label, queries in (("Title", "titles"), ("Description", "descriptions"))
            for score in ("roc_auc", "map")
        ),
    ),
    _PaperTable(
        "6",
        "text triplets",
        (
            _PaperColumn("Playlist", "triplets", ("playlists",), "accuracy", "triplets"),
            _PaperColumn("AudioSet", "triplets", ("audioset_ontology",), "accuracy", "ontology"),
        ),
    ),
)
_OTHER_SCORES = {"retrieval.captions": ("recall10", "map10")}
"""Scores of sets that are in no table of the paper, by section; the first score of a set elsewhere."""


@dataclass(frozen=True)
class _Column:
    label: str
    section: str
    set_name: str
    """Name of the set."""
    score: str
    empty: str
    """Why no variant has a score; empty if one has."""


class _Found:
    """The scores of the variants."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        first = summary["models"][0]["name"]
        self._models: dict[str, Mapping[str, Any]] = {first: summary, **summary["others"]}
        self._tasks = {task["name"]: task for task in summary["tasks"]}
        self._differences = {
            (each["section"], each["set"], each["score"], each["model"]): each["difference"]
            for each in summary["published"]
        }

    def sets(self, section: str) -> dict[str, Mapping[str, Any]]:
        """Returns the sets of a section that any variant has, by name."""
        found: dict[str, Mapping[str, Any]] = {}
        for model in self._models.values():
            found = {**section_of(model, section), **found}
        return found

    def cell(self, model: str, column: _Column) -> tuple[float | None, list[float] | None]:
        """Returns a score with its interval."""
        sets = section_of(self._models[model], column.section) if model in self._models else {}
        each = sets.get(column.set_name, {})
        return each.get(column.score), each.get("intervals", {}).get(column.score)

    def difference_from(self, figure: PublishedFigure) -> str:
        """Returns how a figure differs from what was measured, or, where nothing was, from our protocol."""
        key = (figure.section, figure.set_name, figure.score, figure.model)
        return str(self._differences.get(key, figure.difference))

    def reason(self, task: str) -> str:
        """Returns why a task has no score of a column."""
        if task not in self._tasks:
            return f"not requested: --task {task}={'FILE' if task in TASKS_OF_FILES else 'CORPUS'} evaluates it"
        reasons = (f"{entry['what']}: {entry['reason']}" for entry in self._tasks[task]["left_out"])
        return "; ".join(dict.fromkeys(reasons)) or "the corpus has nothing of it"


def _notes(columns: Sequence[_Column], texts: Sequence[str]) -> list[str]:
    """Returns each text once, after the labels of the columns that it is about."""
    labels: dict[str, list[str]] = {}
    for column, text in zip(columns, texts, strict=True):
        if text:
            labels.setdefault(text, []).append(column.label)
    return [f"{', '.join(dict.fromkeys(named))}: {text}" for text, named in labels.items()]


def ablation_tables(
    summary: Mapping[str, Any], ablation: Ablation, published: Sequence[PublishedFigure]
) -> dict[str, Any]:
    """Returns what ``report.json`` states under ``ablation``: the ``recipe``, its ``variants``, and the ``tables``.

    A table has a ``title``, the number that it has in the ``paper``, ``columns`` and ``rows``; a cell of a row has
    ``ours``, its ``interval`` and the ``published`` figure, each None without one. A column without a score of ours
    says in ``empty`` why, and in ``published`` where its published figures are from; a table has the same of all its
    columns. Tables with scores of ours come first.

    Args:
        summary: Content of ``report.json`` with published figures; its models are named as the variants.
        ablation: The variants.
        published: Published figures.
    """
    found = _Found(summary)
    figures = {(each.section, each.set_name, each.score, each.model): each for each in published}
    tables = [
        _table(table.title, table.number, list(_paper_columns(table, found)), ablation, found, figures)
        for table in _PAPER_TABLES
    ]
    for section in SECTIONS:
        columns = list(_other_columns(section, found))
        if columns:
            title = f"{SECTION_TITLES[section]}, other sets"
            tables.append(_table(title, "", columns, ablation, found, figures))
    return {
        "recipe": ablation.recipe,
        "variants": [asdict(variant) for variant in ablation.variants],
        "tables": sorted(tables, key=lambda table: all(column["empty"] for column in table["columns"])),
    }


def _paper_columns(table: _PaperTable, found: _Found) -> Iterator[_Column]:
    """Yields the columns of a table, one for each evaluated set of a column of the paper."""
    for column in table.columns:
        sets = found.sets(column.section)
        evaluated = [name for name in column.sets if column.score in sets.get(name, {})]
        for name in evaluated:
            yield _Column(column.label, column.section, name, column.score, "")
        if not evaluated:
            yield _Column(column.label, column.section, column.sets[0], column.score, found.reason(column.task))


def _other_columns(section: str, found: _Found) -> Iterator[_Column]:
    """Yields the sets of a section that are in no table of the paper."""
    if section == "robustness":  # its scores are a curve each, which the section shows
        return
    in_paper = {(each.section, name) for table in _PAPER_TABLES for each in table.columns for name in each.sets}
    for name, each in found.sets(section).items():
        if (section, name) not in in_paper:
            scores = scores_of(each)
            chosen = [score for score in _OTHER_SCORES.get(section, ()) if score in scores] or list(scores)[:1]
            for score in chosen:
                yield _Column(name, section, name, score, "")


def _table(
    title: str,
    number: str,
    columns: Sequence[_Column],
    ablation: Ablation,
    found: _Found,
    figures: Mapping[tuple[str, str, str, str], PublishedFigure],
) -> dict[str, Any]:
    def cell(variant: AblationVariant, column: _Column) -> dict[str, Any]:
        ours, interval = found.cell(variant.name, column)
        figure = figures.get((column.section, column.set_name, column.score, variant.published))
        return {"ours": ours, "interval": interval, "published": figure.value if figure else None}

    def note(column: _Column) -> str:
        named = (
            figures.get((column.section, column.set_name, column.score, variant.published))
            for variant in ablation.variants
        )
        figure = next((each for each in named if each), None)
        if figure is None:
            return ""
        difference = found.difference_from(figure)
        reason = f" Not comparable: {difference}." if difference else ""
        return f"{figure.source}: {figure.protocol}.{reason}"

    sources = [note(column) for column in columns]
    return {
        "title": title,
        "paper": number,
        "empty": _notes(columns, [column.empty for column in columns]),
        "published": _notes(columns, sources),
        "columns": [
            {
                "label": column.label,
                "section": column.section,
                "set": column.set_name,
                "score": column.score,
                "score_label": score_name(column.score).label,
                "empty": column.empty,
                "published": source,
            }
            for column, source in zip(columns, sources, strict=True)
        ],
        "rows": [
            {"variant": variant.name, "cells": [cell(variant, column) for column in columns]}
            for variant in ablation.variants
        ],
    }

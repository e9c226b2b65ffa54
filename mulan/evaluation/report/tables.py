"""The tables of scores of a page: a row for each score of a set, beside those of other models and published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.score_names import (
    HIDDEN_SCORES,
    SECTION_TITLES,
    bounds,
    chance_of,
    counts_in_words,
    fixed,
    score_name,
    signed,
)
from mulan.evaluation.report.summary import scores_of, section_of

BETTER, WORSE, UNCLEAR = "▲ better", "▼ worse", "≈"
"""Marks of differences whose interval excludes 0, and of those whose interval contains it."""


@dataclass(frozen=True)
class OtherScore:
    """A score of a further model."""

    value: str
    """The score; a dash if the model has none."""
    difference: str
    """Difference to the first model, with one of the marks above if it has an interval; empty if it is unknown."""
    interval: str
    """The interval of the difference; empty if there is none."""


@dataclass(frozen=True)
class ScoreRow:
    """A score of a set."""

    label: str
    """Name of the score."""
    value: str
    """Score of the first model; a dash if it has none."""
    interval: str
    """Its 95 % interval; empty if there is none."""
    chance: str
    """Value by chance; empty if it is unknown."""
    others: tuple[OtherScore, ...]
    """Scores of the further models of the table."""
    published: str
    """The best published figure, comparable ones first; empty if there is none."""


@dataclass(frozen=True)
class SetRows:
    """The scores of a set."""

    name: str
    """Name of the set."""
    counts: str
    """What the scores are of, in words."""
    rows: tuple[ScoreRow, ...]
    """The scores."""


@dataclass(frozen=True)
class PublishedRow:
    """A published figure."""

    value: str
    """The figure."""
    is_comparable: bool
    """Whether it was measured as ours, and on the same."""
    model: str
    """The model that it is of."""
    note: int
    """Number of the note that says how it was measured."""


@dataclass(frozen=True)
class PublishedGroup:
    """The published figures beside a score, comparable ones first, each by falling value."""

    set_name: str
    """Name of the set."""
    label: str
    """Name of the score."""
    ours: str
    """Scores of our models, each with its name."""
    rows: tuple[PublishedRow, ...]
    """The figures."""


@dataclass(frozen=True)
class SectionTable:
    """A section of a page."""

    key: str
    """Path of the section, such as ``retrieval.captions``."""
    title: str
    """Title of the section."""
    others: tuple[str, ...]
    """Names of the further models that have scores here."""
    sets: tuple[SetRows, ...]
    """The sets."""
    protocols: tuple[tuple[str, tuple[str, ...]], ...]
    """Each protocol in words, with the names of the sets that it applies to."""
    published: tuple[PublishedGroup, ...]
    """All published figures of the section."""
    notes: tuple[str, ...]
    """How published figures were measured, by their numbers from 1 on."""

    @property
    def has_chance(self) -> bool:
        """Whether a row states the value by chance."""
        return any(row.chance for each in self.sets for row in each.rows)

    @property
    def has_intervals(self) -> bool:
        """Whether a row states an interval."""
        return any(row.interval for each in self.sets for row in each.rows)

    @property
    def num_published(self) -> int:
        """Number of published figures."""
        return sum(len(group.rows) for group in self.published)


def section_tables(summary: Mapping[str, Any]) -> list[SectionTable]:
    """Returns the sections of a report that have a score of any model.

    Args:
        summary: Content of ``report.json``.
    """
    return [table for section in SECTIONS if (table := _section(summary, section)).sets]


def _section(summary: Mapping[str, Any], section: str) -> SectionTable:
    ours = section_of(summary, section)
    theirs = {name: section_of(other, section) for name, other in summary["others"].items()}
    others = tuple(name for name, sets in theirs.items() if sets)
    # by set and model, sets of the first model first
    found: dict[str, dict[str, Any]] = {name: {"": each} for name, each in ours.items()}
    for model in others:
        for name, each in theirs[model].items():
            found.setdefault(name, {})[model] = each
    figures = [row for row in summary["published"] if row["section"] == section]
    differences = {
        (row["set"], row["score"]): row["differences"] for row in summary["comparison"] if row["section"] == section
    }
    sets = tuple(_set_rows(name, by_model, others, differences, figures) for name, by_model in found.items())
    protocols: dict[str, list[str]] = {}
    for name, by_model in found.items():
        protocols.setdefault(next(iter(by_model.values()))["protocol"], []).append(name)
    rows, notes = _published(figures)
    return SectionTable(
        key=section,
        title=SECTION_TITLES[section],
        others=others,
        sets=sets,
        protocols=tuple((sentence, tuple(names)) for sentence, names in protocols.items() if sentence),
        published=rows,
        notes=notes,
    )


def _set_rows(
    name: str,
    by_model: Mapping[str, Mapping[str, Any]],
    others: Sequence[str],
    differences: Mapping[tuple[str, str], Mapping[str, Any]],
    figures: Sequence[Mapping[str, Any]],
) -> SetRows:
    scores = dict.fromkeys(score for each in by_model.values() for score in scores_of(each))
    rows = []
    for score in scores:
        if score in HIDDEN_SCORES:
            continue
        named, first = score_name(score), by_model.get("")
        any_model = next(each for each in by_model.values() if score in each)
        chance = chance_of(score, any_model)
        best = _best_first([row for row in figures if (row["set"], row["score"]) == (name, score)])
        rows.append(
            ScoreRow(
                label=named.label,
                value=fixed(first.get(score) if first else None, named.digits),
                interval=bounds(first["intervals"].get(score) if first else None, named.digits),
                chance="" if chance is None else fixed(chance, named.digits),
                others=tuple(
                    _other(score, by_model.get(model), differences.get((name, score), {}).get(model))
                    for model in others
                ),
                published=f"{fixed(best[0]['value'], named.digits)} {_sign(best[0])} {best[0]['model']}"
                if best
                else "",
            )
        )
    counts = next(iter(by_model.values()))["counts"]
    return SetRows(name, counts_in_words(counts), tuple(rows))


def _other(score: str, found: Mapping[str, Any] | None, row: Mapping[str, Any] | None) -> OtherScore:
    named = score_name(score)
    value = fixed(found.get(score) if found else None, named.digits)
    if row is None or row["difference"] is None:
        return OtherScore(value, "", "")
    difference = signed(row["difference"], named.digits)
    within = bounds(row["interval"], named.digits, is_difference=True)
    if not within:
        return OtherScore(value, difference, "")
    low, high = row["interval"]
    mark = BETTER if (low > 0) != named.is_better_low else WORSE
    return OtherScore(value, f"{difference} {UNCLEAR if low <= 0 <= high else mark}", within)


def _sign(figure: Mapping[str, Any]) -> str:
    return "=" if figure["is_comparable"] else "≠"


def _best_first(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns comparable figures before others, each by falling value."""
    return sorted(figures, key=lambda row: (not row["is_comparable"], -row["value"]))


def _published(figures: Sequence[Mapping[str, Any]]) -> tuple[tuple[PublishedGroup, ...], tuple[str, ...]]:
    """Returns the figures of each score, and the notes that they refer to."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for figure in figures:
        groups.setdefault((figure["set"], figure["score"]), []).append(figure)
    notes: dict[str, int] = {}

    def row(figure: Mapping[str, Any], digits: int) -> PublishedRow:
        reason = f" Not measured as ours: {figure['difference']}." if figure["difference"] else ""
        note = notes.setdefault(f"{figure['source']}: {figure['protocol']}.{reason}", len(notes) + 1)
        return PublishedRow(fixed(figure["value"], digits), figure["is_comparable"], figure["model"], note)

    result = []
    for (name, score), group in groups.items():
        named, ordered = score_name(score), _best_first(group)
        rows = tuple(row(figure, named.digits) for figure in ordered)
        ours = ", ".join(f"{fixed(value, named.digits)} of {model}" for model, value in group[0]["ours"].items())
        result.append(PublishedGroup(name, named.label, ours, rows))
    return tuple(result), tuple(notes)

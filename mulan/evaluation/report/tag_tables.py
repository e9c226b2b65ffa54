"""The tables of tags of a page: each tag with a bar, the worst tags, and tags that negate others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.evaluation.report.score_names import fixed
from mulan.evaluation.report.summary import section_of

MARKERS = ("◇", "✕", "△", "□", "+", "○")
"""Marks of further models beside the bars of the first one."""


@dataclass(frozen=True)
class TagRow:
    """A tag."""

    tag: str
    """The tag as it is shown."""
    roc_auc: float | None
    """ROC-AUC of the first model."""
    interval: tuple[float, float] | None
    """Its 95 % interval."""
    average_precision: float | None
    """Average precision of the first model."""
    prevalence: float | None
    """Share of recordings that have the tag."""
    positives: int | None
    """Number of recordings that have the tag."""
    others: tuple[float | None, ...]
    """ROC-AUC of the further models."""


@dataclass(frozen=True)
class TagTableView:
    """The tags of a set, by falling ROC-AUC of the first model."""

    section: str
    """Path of the section."""
    set_name: str
    """Name of the set."""
    others: tuple[tuple[str, str], ...]
    """Further models that have scored the tags, each with its marker."""
    rows: tuple[TagRow, ...]
    """The tags."""
    worst: str
    """The worst tags with their ROC-AUC; empty if they are not stated."""
    negations: tuple[str, ...]
    """Pairs of tags of which one negates the other, in words."""
    unscored: str
    """Tags that could not be scored."""


def tag_tables(summary: Mapping[str, Any]) -> Iterator[TagTableView]:
    """Yields the table of each set of the first model whose details have ``tags``.

    Args:
        summary: Content of ``report.json``.
    """
    for section in SECTIONS:
        for name, found in section_of(summary, section).items():
            if found["details"].get("tags"):
                others = {
                    model: {row["tag"]: row for row in sets[name]["details"].get("tags") or ()}
                    for model, other in summary["others"].items()
                    if name in (sets := section_of(other, section))
                }
                yield _view(section, name, found["details"], {model: tags for model, tags in others.items() if tags})


def _view(
    section: str, name: str, details: Mapping[str, Any], others: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> TagTableView:
    rows = sorted(details["tags"], key=lambda row: (row["roc_auc"] is None, -(row["roc_auc"] or 0), row["tag"]))
    shown = _texts([row["tag"] for row in rows])
    score = {row["tag"]: row["roc_auc"] for row in rows}
    markers = [MARKERS[number % len(MARKERS)] for number in range(len(others))]
    return TagTableView(
        section=section,
        set_name=name,
        others=tuple(zip(others, markers, strict=True)),
        rows=tuple(_row(row, shown[row["tag"]], others) for row in rows),
        worst=", ".join(f"{shown.get(tag, tag)} {fixed(score.get(tag))}" for tag in details.get("worst", ())),
        negations=tuple(_negation(pair) for pair in details.get("negations", ())),
        unscored=", ".join(split_tag(tag)[1] for tag in details.get("without_scores", ())),
    )


def _row(row: Mapping[str, Any], text: str, others: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> TagRow:
    interval = row.get("roc_auc_interval")
    return TagRow(
        tag=text,
        roc_auc=row["roc_auc"],
        interval=(interval[0], interval[1]) if interval and None not in interval else None,
        average_precision=row.get("average_precision"),
        prevalence=row.get("prevalence"),
        positives=row.get("positives"),
        others=tuple(tags.get(row["tag"], {}).get("roc_auc") for tags in others.values()),
    )


def _texts(tags: Sequence[str]) -> dict[str, str]:
    """Returns how tags are shown: without their category if all have the same."""
    pairs = {tag: split_tag(tag) for tag in tags}
    if len({category for category, _ in pairs.values()}) > 1:
        return {tag: tag for tag in tags}
    return {tag: text for tag, (_, text) in pairs.items()}


def _negation(pair: Mapping[str, Any]) -> str:
    positive, negative = (split_tag(pair[key])[1] for key in ("tag", "negation"))
    return (
        f"“{positive}” {fixed(pair['roc_auc'])}, “{negative}” {fixed(pair['negation_roc_auc'])}; "
        f"the cosine similarity of their prompts is {fixed(pair['cosine'])}"
    )

"""The scores on corrupted recordings as tables: a row for each corruption, a column for each strength."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mulan.evaluation.corruptions import STRENGTHS
from mulan.evaluation.report.score_names import SECTION_TITLES, bounds, counts_in_words, fixed, score_name
from mulan.evaluation.report.summary import section_of


@dataclass(frozen=True)
class RobustnessRow:
    """The scores of a model under one corruption."""

    corruption: str
    """The corruption."""
    model: str
    """Name of the model; empty in a report of one model."""
    scores: tuple[str, ...]
    """Score at each strength, from 0 on; a dash if there is none."""
    interval: str
    """The 95 % interval at the highest strength; empty if there is none."""


@dataclass(frozen=True)
class RobustnessTable:
    """The scores on one set."""

    title: str
    """Section, name and score of the set."""
    counts: str
    """What the scores are of, in words."""
    chance: str
    """Value by chance at any strength; empty if it is unknown."""
    rows: tuple[RobustnessRow, ...]
    """The scores, by corruption and then by model."""


def robustness_tables(summary: Mapping[str, Any]) -> list[RobustnessTable]:
    """Returns a table for each set whose robustness is known; none if there is no set.

    Args:
        summary: Content of ``report.json``.
    """
    models = {summary["models"][0]["name"]: summary, **summary["others"]}
    sets: dict[tuple[str, str, str], dict[str, list[tuple[str, Mapping[str, Any]]]]] = {}
    for model, sections in models.items():
        for corrupted in section_of(sections, "robustness").values():
            details = corrupted["details"]
            corruptions = sets.setdefault((details["section"], details["set"], details["score"]), {})
            corruptions.setdefault(details["corruption"], []).append((model if len(models) > 1 else "", corrupted))
    return [_table(*key, corruptions) for key, corruptions in sets.items()]


def _table(
    section: str, name: str, score: str, corruptions: Mapping[str, list[tuple[str, Mapping[str, Any]]]]
) -> RobustnessTable:
    named, first = score_name(score), next(iter(corruptions.values()))[0][1]
    chance = first["details"].get("chance", {}).get("strength_0")
    rows = (
        RobustnessRow(
            corruption,
            model,
            tuple(fixed(corrupted.get(f"strength_{strength}"), named.digits) for strength in STRENGTHS),
            bounds(corrupted["intervals"].get(f"strength_{STRENGTHS[-1]}"), named.digits),
        )
        for corruption, of_models in corruptions.items()
        for model, corrupted in of_models
    )
    counts = counts_in_words(first["counts"])
    shown = "" if chance is None else fixed(chance, named.digits)
    return RobustnessTable(f"{SECTION_TITLES[section]}: {name}, {named.label}", counts, shown, tuple(rows))

"""How scores are named and written, and what chance reaches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ScoreName:
    """How a score is shown."""

    label: str
    """Name of the score in reports."""
    digits: int = 3
    """Number of decimals."""
    is_better_low: bool = False
    """Whether low values are good, as of ranks."""


SECTION_TITLES: Mapping[str, str] = {
    "zero_shot": "Zero-shot tagging",
    "probes": "Probes on frozen vectors",
    "retrieval.captions": "Captions to music",
    "retrieval.playlists": "Playlists to music",
    "triplets": "Text triplets",
    "robustness": "Robustness",
}
"""Titles of the sections of a report."""
HIDDEN_SCORES = ("prevalence",)
"""Scores that tables leave out: the prevalence is close to the mAP by chance, which has a column."""
_NAMES = {
    "roc_auc": ScoreName("ROC-AUC"),
    "map": ScoreName("mAP"),
    "map10": ScoreName("mAP@10"),
    "recall1": ScoreName("R@1"),
    "recall5": ScoreName("R@5"),
    "recall10": ScoreName("R@10"),
    "median_rank": ScoreName("median rank", digits=1, is_better_low=True),
    "mrr": ScoreName("MRR"),
    "r2": ScoreName("R²"),
    "r2_arousal": ScoreName("R² of arousal"),
    "r2_valence": ScoreName("R² of valence"),
    "f1": ScoreName("F1"),
}


def score_name(score: str) -> ScoreName:
    """Returns how a score is shown; those without an entry are shown by their names.

    Example:
        >>> score_name("map10").label, score_name("weighted_score").label
        ('mAP@10', 'weighted score')
    """
    return _NAMES.get(score) or ScoreName(score.replace("_", " "))


def chance_of(score: str, found: Mapping[str, Any]) -> float | None:
    """Returns what a model reaches that ignores its input, which the details of a set state; None if it is unknown.

    Args:
        score: Name of the score.
        found: The set in ``report.json``.
    """
    return found["details"].get("chance", {}).get(score)


def fixed(value: float | None, digits: int = 3) -> str:
    """Returns a number with a fixed number of decimals; a dash if it is None.

    Example:
        >>> fixed(0.12345), fixed(-0.00004), fixed(-1234.5, 1), fixed(None)
        ('0.123', '0.000', '−1,234.5', '–')
    """
    if value is None:
        return "\N{EN DASH}"
    text = f"{abs(value):,.{digits}f}"
    is_zero = not float(text.replace(",", ""))
    return text if value >= 0 or is_zero else f"\N{MINUS SIGN}{text}"


def signed(value: float | None, digits: int = 3) -> str:
    """Returns a number with a sign and a fixed number of decimals; a dash if it is None.

    Example:
        >>> signed(0.25), signed(-0.25), signed(0.0001)
        ('+0.250', '−0.250', '0.000')
    """
    if value is None:
        return "\N{EN DASH}"
    text = fixed(value, digits)
    is_plain = value <= 0 or not float(text.replace(",", ""))
    return text if is_plain else f"+{text}"


def bounds(interval: list[float] | None, digits: int = 3, *, is_difference: bool = False) -> str:
    """Returns an interval as text; nothing without one.

    Example:
        >>> bounds([0.25, 0.75]), bounds([-0.5, 0.5], is_difference=True), bounds(None)
        ('0.250–0.750', '−0.500 to +0.500', '')
    """
    if interval is None or None in interval:
        return ""
    write = signed if is_difference else fixed
    dash = " to " if is_difference or interval[0] < 0 else "\N{EN DASH}"
    return dash.join(write(bound, digits) for bound in interval)


_PART_OF = {"artists_or_recordings": "recordings", "scored_tags": "tags"}
"""Counts that are at most another one."""


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Returns what scores are of, without counts of 0 and those that are equal to the count of which they are a part.

    Example:
        >>> counts_in_words({"recordings": 5329, "artists_or_recordings": 230, "tags": 50, "scored_tags": 50})
        '5,329 recordings, 230 artists or recordings, 50 tags'
    """
    shown = {what: count for what, count in counts.items() if count and count != counts.get(_PART_OF.get(what, ""))}
    return ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in shown.items())

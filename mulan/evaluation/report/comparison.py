"""The differences between models, with intervals of paired draws."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mulan.evaluation.metrics.resampling import bounds_of
from mulan.evaluation.protocols.protocol import SetScores


def comparison(scores: Mapping[str, Sequence[SetScores]]) -> list[dict[str, Any]]:
    """Returns a row for each score that several models have: its values, and the differences to the first model.

    A row has ``section``, ``set``, ``score``, ``values`` by model, and ``differences`` by further model, each with
    ``difference`` and its 95 % ``interval``. The interval is that of the draws' differences, since models are scored on
    the same draws; it is None if they were not scored on the same recordings or queries, or without draws.

    Args:
        scores: The scores of each model by its name, the first being the one that others are compared with.
    """
    first, *others = scores
    sets = {name: {(each.section, each.name): each for each in of_model} for name, of_model in scores.items()}
    rows = []
    for section, name, score in _scores_of_several(scores):
        having = {model: found[section, name] for model, found in sets.items() if (section, name) in found}
        having = {model: each for model, each in having.items() if score in each.scores}
        base = having.get(first)
        rows.append(
            {
                "section": section,
                "set": name,
                "score": score,
                "values": {model: float(each.scores[score]) for model, each in having.items()},
                "differences": {
                    model: _difference(base, having[model], score) for model in others if base and model in having
                },
            }
        )
    return rows


def _scores_of_several(scores: Mapping[str, Sequence[SetScores]]) -> Iterator[tuple[str, str, str]]:
    """Yields section, set and score of all scores that at least two models have, in the order of the first of them."""
    counts: dict[tuple[str, str, str], int] = {}
    for of_model in scores.values():
        for each in of_model:
            for score in each.scores:
                key = (each.section, each.name, score)
                counts[key] = counts.get(key, 0) + 1
    return (key for key, count in counts.items() if count > 1)


def _difference(base: SetScores, other: SetScores, score: str) -> dict[str, Any]:
    difference = float(other.scores[score]) - float(base.scores[score])
    return {"difference": difference, "interval": _paired_interval(base, other, score)}


def _paired_interval(base: SetScores, other: SetScores, score: str) -> list[float] | None:
    ours, theirs = base.draws.get(score), other.draws.get(score)
    # draws of other recordings or queries are no pairs
    is_same = base.sample_sha256 == other.sample_sha256 != ""
    if ours is None or theirs is None or not is_same or ours.shape != theirs.shape:
        return None
    return bounds_of(theirs - ours, float(other.scores[score]) - float(base.scores[score]))

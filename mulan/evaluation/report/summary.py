"""The results of an evaluation as values of JSON, in the format of ``report.json``."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from mulan.evaluation.embedding.windows import WINDOW_RULE
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.resampling import bounds_of
from mulan.evaluation.protocols.protocol import SECTIONS, SetScores
from mulan.evaluation.published import PublishedFigure
from mulan.evaluation.report.comparison import comparison

FORMAT = 3
"""Version of the format of ``report.json``."""
RESERVED = ("intervals", "counts", "protocol", "details", "sample_sha256")
"""Keys of a set that are no scores."""
_PACKAGES = ("mulan", "numpy", "ray", "scikit-learn", "scipy", "torch", "transformers", "mir_eval")
"""Packages that scores may depend on, whose versions are stated."""


@dataclass(frozen=True)
class LeftOut:
    """Scores that a model does not have."""

    model: str
    """Name of the model."""
    what: str
    """The protocols and their sets in words."""
    reason: str
    """Why it was not evaluated by them."""


@dataclass(frozen=True)
class TaskFacts:
    """What a task was evaluated on."""

    name: str
    """Name of the task, as in ``--task NAME=CORPUS``."""
    title: str
    """Name of the data set."""
    description: str
    """One sentence that says what is evaluated."""
    corpus: str
    """Path or URI of the corpus, or of the file that the task needs instead."""
    index_sha256: str
    """SHA-256 of the corpus's index in hexadecimal; empty without one."""
    recordings: Mapping[str, Mapping[str, int]]
    """Number of embedded recordings by model and split."""
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Why recordings were skipped, by model and id."""
    left_out: Sequence[LeftOut] = ()
    """What was not evaluated."""


def summarize(
    scores: Mapping[str, Sequence[SetScores]],
    *,
    models: Sequence[EncoderInfo],
    tasks: Sequence[TaskFacts],
    published: Sequence[PublishedFigure] = (),
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Returns the content of ``report.json``; numbers that are not finite are None.

    The sections of the first model are at the top level, so that ``probes.instrument.roc_auc`` is its score; those of
    the others are in ``others`` by the name of the model. A set has its scores by name, their 95 % ``intervals``, its
    ``counts``, ``protocol``, ``details``, and the digest of what was scored.

    Args:
        scores: The scores of each model by its name.
        models: The models, at least one, of distinct names; the others are compared with the first.
        tasks: What the models were evaluated on.
        published: Figures of other models; those beside which there is a score are reported.
        seconds: Duration of each part of the evaluation, by name.
    """
    names = [model.name for model in models]
    assert names and len(set(names)) == len(names) and set(scores) <= set(names), (names, list(scores))
    by_model = {name: list(scores.get(name, ())) for name in names}
    first, *others = names
    content = {
        "format": FORMAT,
        "models": [asdict(model) for model in models],
        "windows": {
            "rule": WINDOW_RULE,
            "seconds": {
                model.name: model.window_samples / model.sample_rate_hz for model in models if model.window_samples
            },
        },
        "tasks": [asdict(task) for task in tasks],
        **_sections(by_model[first]),
        "others": {name: _sections(by_model[name]) for name in others},
        "comparison": comparison(by_model) if others else [],
        "published": _published(published, by_model),
        "versions": _versions(),
        "seconds": dict(seconds or {}),
    }
    return {name: without_nan(value) for name, value in content.items()}


def distinct_sets(scores: Iterable[tuple[str, Iterable[SetScores]]]) -> list[SetScores]:
    """Returns the scores of one encoder by all tasks.

    Args:
        scores: Name of each task, and its scores.

    Raises:
        EvaluationError: Two sets of a section have the same name, so that a report could not tell them apart.
    """
    sets: dict[tuple[str, str], tuple[str, SetScores]] = {}
    for task, of_task in scores:
        for scored in of_task:
            key = (scored.section, scored.name)
            if key in sets:
                both = (
                    f"the tasks {sets[key][0]} and {task} both have" if sets[key][0] != task else f"{task} has two of"
                )
                raise EvaluationError(
                    f"{both} the set {scored.section}.{scored.name}; evaluate them by commands of their own"
                )
            sets[key] = (task, scored)
    return [scored for _, scored in sets.values()]


def to_json(summary: Mapping[str, Any]) -> str:
    """Returns the content of ``report.json``; the same results give the same text."""
    return json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def section_of(summary: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Returns the sets of a section by its path, such as ``retrieval.captions``.

    Args:
        summary: The summary, or the sections of a model in ``others``.
        section: One of :data:`mulan.evaluation.protocols.protocol.SECTIONS`.
    """
    found: Any = summary
    for key in section.split("."):
        found = found[key]
    return dict(found)


def scores_of(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns the scores of a set by their names."""
    return {name: value for name, value in found.items() if name not in RESERVED}


def without_nan(value: Any) -> Any:
    """Returns a value of JSON, in which numbers of NumPy are plain, and those that are not finite are None.

    Args:
        value: Numbers, texts, mappings and sequences of them.
    """
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [without_nan(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sections(sets: Sequence[SetScores]) -> dict[str, Any]:
    """Returns the sets by section and name; all sections exist."""
    root: dict[str, Any] = {}
    for section in SECTIONS:
        *parents, last = section.split(".")
        node = root
        for key in parents:
            node = node.setdefault(key, {})
        names = [each.name for each in sets if each.section == section]
        assert len(set(names)) == len(names), f"several sets of {section} have one name: {names}"
        node[last] = {each.name: _set(each) for each in sets if each.section == section}
    assert {each.section for each in sets} <= set(SECTIONS), {each.section for each in sets}
    return root


def _set(found: SetScores) -> dict[str, Any]:
    assert not set(found.scores) & set(RESERVED), found.scores
    return {
        **found.scores,
        "intervals": {
            score: bounds_of(found.draws[score], value) for score, value in found.scores.items() if score in found.draws
        },
        "counts": dict(found.counts),
        "protocol": found.protocol,
        "details": dict(found.details),
        "sample_sha256": found.sample_sha256,
    }


def _published(figures: Sequence[PublishedFigure], scores: Mapping[str, Sequence[SetScores]]) -> list[dict[str, Any]]:
    """Returns the figures beside which a model has a score, with the scores as ``ours`` by model.

    ``difference`` says how the figure was measured, and what it was measured on, differs from any of ours.
    """
    sets = {name: {(each.section, each.name): each for each in of_model} for name, of_model in scores.items()}
    rows = []
    for figure in figures:
        key = (figure.section, figure.set_name)
        ours = {model: named[key] for model, named in sets.items() if key in named}
        ours = {model: scored for model, scored in ours.items() if figure.score in scored.scores}
        if ours:
            difference = _difference(figure, ours)
            rows.append(
                {
                    "section": figure.section,
                    "set": figure.set_name,
                    "score": figure.score,
                    "ours": {model: scored.scores[figure.score] for model, scored in ours.items()},
                    "model": figure.model,
                    "value": figure.value,
                    "source": figure.source,
                    "protocol": figure.protocol,
                    "difference": difference,
                    "is_comparable": not difference,
                }
            )
    return rows


def _difference(figure: PublishedFigure, ours: Mapping[str, SetScores]) -> str:
    """Returns how a figure differs from the sets of all models, naming the models where they differ from each other."""
    models: dict[str, list[str]] = {}
    for model, scored in ours.items():
        for reason in figure.differences_from(scored.counts, scored.details):
            models.setdefault(reason, []).append(model)
    return "; ".join(
        reason if len(having) == len(ours) else f"{reason} ({', '.join(having)})" for reason, having in models.items()
    )


def _versions() -> dict[str, str]:
    """Returns the versions of the packages that are installed."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions

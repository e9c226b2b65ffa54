"""The terms of the loss: which of them one model can be trained on, and how runs that are trained on them compare."""

from typing import NamedTuple

from mulan.config.sections import LossWeightsConfig


class SelectionMetric(NamedTuple):
    """A validation score by which checkpoints, and the trials of a sweep, are compared; higher is better."""

    name: str
    """Its name among the scores of a validation."""
    label: str
    """Its name in tables and progress lines."""


TRAINED_TOGETHER: tuple[tuple[str, ...], ...] = (
    ("contrastive", "semisupcon"),
    ("mlm", "mam", "atm"),
    ("tagging",),
)
"""The terms that one model can be trained on. Terms of different groups need different models."""

_RECALL = SelectionMetric("recall10", "recall@10")

SELECTION_METRICS = {
    "contrastive": _RECALL,
    "semisupcon": _RECALL,
    "atm": SelectionMetric("atm_accuracy", "matching accuracy"),
    "mlm": SelectionMetric("mlm_accuracy", "masked-token accuracy"),
    "mam": SelectionMetric("mam_r2", "masked-audio R2"),
    "tagging": SelectionMetric("map", "mAP"),
}
"""The selection metric of each term. Where several terms have a weight, the first one listed here decides."""


def selection_metric(weights: LossWeightsConfig) -> SelectionMetric:
    """Returns the selection metric of a recipe: that of the first term with a weight, in the order of the table.

    It is known without loading torch, because progress lines and the tables of sweeps show it.
    """
    return next(metric for term, metric in SELECTION_METRICS.items() if getattr(weights, term) > 0)

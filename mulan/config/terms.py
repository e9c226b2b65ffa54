"""The terms of the loss: the combinations that a model can be trained on, and the metric by which runs are compared."""

from typing import NamedTuple

from mulan.config.sections import LossWeightsConfig


class SelectionMetric(NamedTuple):
    """A validation score by which checkpoints, and the trials of a sweep, are compared; higher is better."""

    name: str
    """Name of the metric among the scores of a validation."""
    label: str
    """Name of the metric in tables and progress lines."""


TRAINED_TOGETHER: tuple[tuple[str, ...], ...] = (
    ("contrastive", "semisupcon"),
    ("mlm", "mam", "atm"),
    ("tagging",),
)
"""Groups of terms that a model can be trained on together; terms of different groups need different models."""

_RECALL = SelectionMetric("recall10", "recall@10")

SELECTION_METRICS = {
    "contrastive": _RECALL,
    "semisupcon": _RECALL,
    "atm": SelectionMetric("atm_accuracy", "matching accuracy"),
    "mlm": SelectionMetric("mlm_accuracy", "masked-token accuracy"),
    "mam": SelectionMetric("mam_r2", "masked-audio R2"),
    "tagging": SelectionMetric("map", "mAP"),
}
"""The selection metric of each term. If several terms have a weight, the first one listed here is used."""


def selection_metric(weights: LossWeightsConfig) -> SelectionMetric:
    """Returns the selection metric of a recipe: that of the first term in :data:`SELECTION_METRICS` with a weight.

    It does not depend on the model, so that progress lines and the tables of sweeps can show it without loading torch.
    """
    return next(metric for term, metric in SELECTION_METRICS.items() if getattr(weights, term) > 0)

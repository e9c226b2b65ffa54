"""The gauges of a run for Prometheus: their names, and their values from a line of ``metrics.jsonl``.

Ray adds ``ray_`` to each name, and labels of its own (node, worker) to ``run``, which names the run, and to the label
of :data:`GAUGES`. A value that is not finite (the loss of a diverged step) is left out, because Ray drops it: the gauge
keeps its last finite value, and the run's events tell of the step.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Gauge(NamedTuple):
    """A gauge of a run."""

    description: str
    """The quantity and its unit."""
    label: str = ""
    """The label that the gauge has in addition to ``run``; empty if it has none."""


GAUGES: Mapping[str, Gauge] = {
    "mulan_step": Gauge("Last completed step."),
    "mulan_steps_planned": Gauge("Number of steps of the whole run, train.steps."),
    "mulan_last_step_time_seconds": Gauge("Unix time at which the last step was completed."),
    "mulan_pairs": Gauge("Number of pairs in all completed steps."),
    "mulan_pairs_per_second": Gauge("Pairs per second in the last step."),
    "mulan_step_seconds": Gauge("Duration of the last step in seconds, without validation and checkpoint."),
    "mulan_data_wait_ratio": Gauge("Share of the last step in which a worker waited for data, 0 to 1."),
    "mulan_loss": Gauge("Loss of the last step: the weighted sum of its terms."),
    "mulan_loss_term": Gauge("Unweighted loss term of the last step.", "term"),
    "mulan_temperature": Gauge("Temperature of the contrastive loss, 0 to 1."),
    "mulan_gradient_norm": Gauge("Norm of the last gradient before clipping."),
    "mulan_learning_rate": Gauge("Learning rate of the last step."),
    "mulan_validation_score": Gauge("Score of the last validation.", "score"),
    "mulan_skipped_recordings": Gauge("Number of recordings skipped so far.", "reason"),
    "mulan_checkpoint_step": Gauge("Step of the newest complete checkpoint."),
    "mulan_checkpoint_seconds": Gauge("Seconds from the request of the newest checkpoint until it was complete."),
    "mulan_restarts": Gauge("Number of attempts so far that began after a failure."),
    "mulan_lost_seconds": Gauge("Seconds lost to failures so far: restarts and repeated steps."),
    "mulan_workers": Gauge("Number of training workers."),
    "mulan_data_cpus": Gauge("Number of CPUs that read data."),
    "mulan_model_flops_per_second": Gauge("Model FLOP/s of all workers in the last step."),
    "mulan_mfu": Gauge("Model FLOPs utilization of the last step: share of the devices' peak, 0 to 1."),
    "mulan_gpu_memory_bytes": Gauge("Peak memory allocated by PyTorch since the step before.", "rank"),
    "mulan_collapsed_steps": Gauge("Number of consecutive steps whose embeddings seem to be identical."),
}
"""Every gauge of a run, by name."""


class Reading(NamedTuple):
    """A value of a gauge."""

    gauge: str
    """Name, one of :data:`GAUGES`."""
    value: float
    """The value, finite."""
    label: str = ""
    """The value of the gauge's label; empty if it has none."""


_FIELDS = {
    "step": "mulan_step",
    "time": "mulan_last_step_time_seconds",
    "pairs_per_s": "mulan_pairs_per_second",
    "step_s": "mulan_step_seconds",
    "loss": "mulan_loss",
    "temperature": "mulan_temperature",
    "grad_norm": "mulan_gradient_norm",
    "learning_rate": "mulan_learning_rate",
    "data_cpus": "mulan_data_cpus",
    "mfu": "mulan_mfu",
    "collapsed_steps": "mulan_collapsed_steps",
}
"""The gauges of fields of a line that are published as they are."""

_LABELLED_FIELDS = {"validation": "mulan_validation_score", "skipped_recordings": "mulan_skipped_recordings"}
_TERM = "loss_"


def step_readings(line: Mapping[str, Any], *, pairs: int) -> Iterator[Reading]:
    """Yields the readings of a step.

    Args:
        line: A line of ``metrics.jsonl``. Fields that are absent, None or not finite yield no reading.
        pairs: The number of pairs of the global batch.
    """
    for gauge, value, label in _values(line, pairs):
        if value is not None and math.isfinite(value):
            yield Reading(gauge, float(value), label)


def _values(line: Mapping[str, Any], pairs: int) -> Iterator[tuple[str, float | None, str]]:
    for field, gauge in _FIELDS.items():
        yield gauge, line.get(field), ""
    for field, gauge in _LABELLED_FIELDS.items():
        for label, value in line.get(field, {}).items():
            yield gauge, value, label
    for field, value in line.items():
        if field.startswith(_TERM):
            yield "mulan_loss_term", value, field.removeprefix(_TERM)
    yield "mulan_pairs", line["step"] * pairs, ""
    if seconds := line.get("step_s"):
        yield "mulan_data_wait_ratio", line["data_wait_s"] / seconds, ""
        if "model_flops" in line:
            yield "mulan_model_flops_per_second", line["model_flops"] / seconds, ""

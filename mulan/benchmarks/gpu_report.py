"""The report of the benchmark of a GPU, with the figures and goals that follow from several measurements."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mulan.benchmarks.gpu_readings import GpuReading
from mulan.benchmarks.measure import Figure
from mulan.benchmarks.results import Goal, Report, Row

GOAL_SHARE_OF_PRODUCT, GOAL_SHARE_OF_LOSS = 0.5, 0.02
"""Minimum share of the measured matrix product in a step of ``m_ast``, and maximum share of the loss in a step."""

_PRODUCT = "product of square matrices, bfloat16"
_LOSS = "loss of 6,144 pairs, tiled: seconds"
_STEP = re.compile(r"(.+): model FLOPs")
_NOTES = (
    "Text towers have random weights in the pretrained encoder's size, and batches are noise: their speed is that of "
    "training, and losses mean nothing. Texts have 3 to max_tokens tokens, log-uniformly.",
    "Model FLOPs count the forward and backward pass once; with the repeated forward pass of gradient caching, a step "
    "computes 4/3 of them. The share of the measured product is that of model FLOPs.",
    "A short step has few micro-batches. Of host waits, a step needs two or three at its end, where the loss and the "
    "norm of the gradient are read; before that it needs none.",
)


def report_of(
    readings: Mapping[str, GpuReading], settings: Mapping[str, Any], *, left_out: Sequence[str] = ()
) -> Report:
    """Returns the report of what has been measured.

    Args:
        readings: Figures by name, in order.
        settings: Settings of the benchmark by name.
        left_out: Measurements for which there was no time.
    """
    rows = [_row(reading) for reading in readings.values()]
    derived = list(_derived(readings))
    notes = [f"not measured, as the time was up: {', '.join(left_out)}"] if left_out else []
    goals = _goals(readings, {row.name: row.figures[_COLUMN].median for row in derived})
    if settings["device"] != "cuda":
        goals, notes = [], ["On a CPU the models are narrow, and no goal applies to them.", *notes]
    return Report("gpu", settings, [*rows, *derived], goals, [*_NOTES, *notes])


_COLUMN = "measured"


def _row(reading: GpuReading) -> Row:
    figures = {_COLUMN: Figure(reading.values, reading.unit)} if reading.values else {}
    return Row(reading.name, figures, reading.remark)


def _derived(readings: Mapping[str, GpuReading]) -> Iterator[Row]:
    """Yields what follows from several figures, as far as they have been measured."""
    median = {name: Figure(one.values, one.unit).median for name, one in readings.items() if one.values}
    for label in _labels(readings):
        if _PRODUCT in median:
            shares = tuple(rate / median[_PRODUCT] for rate in readings[f"{label}: model FLOPs"].values)
            yield Row(_share_of_product(label), {_COLUMN: Figure(shares, "")})
        step = median.get(f"{label}: step")
        if step and _LOSS in median:
            yield Row(_share_of_loss(label), {_COLUMN: Figure((median[_LOSS] / step,), "")})
        peak, stated = median.get(f"{label}: peak memory"), median.get(f"{label.split(',')[0]}: calculated memory")
        if peak and stated:
            yield Row(_peak_to_stated(label), {_COLUMN: Figure((peak / stated,), "x")})


def _labels(readings: Mapping[str, GpuReading]) -> list[str]:
    """Returns the recipes and variants of which steps were measured."""
    return [found[1] for name, one in readings.items() if one.values and (found := _STEP.fullmatch(name))]


def _share_of_product(label: str) -> str:
    return f"{label}: model FLOPs to the measured product"


def _share_of_loss(label: str) -> str:
    return f"{label}: loss of 6,144 pairs to the step"


def _peak_to_stated(label: str) -> str:
    return f"{label}: peak memory to the calculated one"


def _goals(readings: Mapping[str, GpuReading], derived: Mapping[str, float]) -> list[Goal]:
    goals = []
    for label in _labels(readings):
        share, loss, peak = (name(label) for name in (_share_of_product, _share_of_loss, _peak_to_stated))
        if share in derived and label.startswith("m_ast"):
            goals.append(Goal(share, derived[share], GOAL_SHARE_OF_PRODUCT, at_most=False))
        if loss in derived:
            goals.append(Goal(loss, derived[loss], GOAL_SHARE_OF_LOSS, at_most=True))
        if peak in derived:
            goals.append(Goal(peak, derived[peak], 1.0, at_most=True))
        waits = readings.get(f"{label}: host waits before all gradients are queued")
        if waits is not None:
            goals.append(Goal(waits.name, waits.values[0], 0, at_most=True))
    return goals

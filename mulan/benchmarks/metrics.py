"""Benchmark of a run's metrics: what counting FLOPs and publishing gauges adds to a miniature's step."""

import json
from collections.abc import Callable
from dataclasses import asdict

from mulan.benchmarks.measure import Figure, in_fresh_process
from mulan.benchmarks.metrics_process import MetricsReading
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.step_process import StepJob
from mulan.benchmarks.steps import step_settings
from mulan.config.recipe import Recipe

GOAL_PERCENT = 0.5
"""Maximum share of a step that metrics may take."""


def bench_metrics(recipe: Recipe, *, rounds: int, steps: int, progress: Callable[[str], None]) -> Report:
    """Measures steps with and without metrics in turn, in fresh processes that are connected to a local Ray.

    Args:
        recipe: Recipe of the step, with synthetic batches, PyTorch's engine and one worker.
        rounds: Number of measurements.
        steps: Number of steps of each kind timed in each measurement.
        progress: Called with a line of text after each measurement.
    """
    job = StepJob(recipe.to_toml(), "torch", steps, max(2, steps // 5), tokens=0, corpus=False)
    readings: list[MetricsReading] = []
    for number in range(1, rounds + 1):
        output = in_fresh_process("mulan.benchmarks.metrics_process", [json.dumps(asdict(job))], timeout_s=3600)
        readings.append(MetricsReading(**json.loads(output.splitlines()[-1])))
        newest = readings[-1]
        progress(f"round {number}/{rounds}  {newest.percent:.3f} % of a step of {1e3 * newest.plain_s:.1f} ms")
    rows = [
        Row("without metrics", {"step": _figure("s", *(each.plain_s for each in readings))}),
        Row(
            "with metrics",
            {
                "step": _figure("s", *(each.measured_s for each in readings)),
                "/ without": _figure("x", *(each.measured_s / each.plain_s for each in readings)),
                "in the training thread": _figure("us", *(1e6 * each.calls_s for each in readings)),
                "CPU time of the publishing thread": _figure("us", *(1e6 * each.publishing_s for each in readings)),
                "share": _figure("%", *(each.percent for each in readings)),
            },
        ),
    ]
    share = rows[1].figures["share"].median
    goal = Goal("metrics: % of a step, median of rounds", share, GOAL_PERCENT, at_most=True)
    return Report("metrics", step_settings(recipe, steps=steps), rows, [goal], [_NOTE], recipe_toml=recipe.to_toml())


_NOTE = (
    "The share is that of both times, measured directly; the ratio of whole steps varies by more than they take. Ray's "
    "own export every 10 s is not included."
)


def _figure(unit: str, *values: float) -> Figure:
    return Figure(values, unit)

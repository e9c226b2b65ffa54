"""Benchmark of the step with each engine, up to Ray Train with Ray Data, against a minimal PyTorch loop."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mulan.benchmarks.measure import Figure, in_fresh_process, interleaved, ratios
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.step_process import StepJob
from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.config.recipe import Recipe
from mulan.model.device_batch import to_device
from mulan.telemetry.peaks import peak_flops

ENGINES = ("bare", "bare_kept", "torch", "deepspeed", "ray")
"""The candidates, each of which adds a component to the one before."""

GOAL_RATIO, GOAL_SHARE_OF_PEAK = 1.10, 0.40
"""Maximum duration relative to the bare loop, and minimum share of a GPU's peak arithmetic."""

_REMARKS = {
    "bare": "PyTorch's data parallelism, preloaded batches",
    "bare_kept": "the same, but keeps freed memory between steps like mulan's workers, part of the difference on CPUs",
    "torch": "mulan's step, plain PyTorch engine, preloaded batches",
    "deepspeed": "mulan's step, DeepSpeed engine, preloaded batches",
    "ray": "the full path: Ray Train, DeepSpeed, Ray Data",
}


def bench_step(
    recipe: Recipe, *, engine: str, rounds: int, steps: int, tokens: int, progress: Callable[[str], None]
) -> Report:
    """Measures the engines from ``bare`` up to ``engine``, in turn and in fresh processes.

    Args:
        recipe: Recipe of the step. Batches come from its ``data.uri``, which ``ray`` requires, or are synthetic.
        engine: Last of :data:`ENGINES` to measure.
        rounds: Number of measurements of each engine.
        steps: Number of steps timed in each measurement.
        tokens: Text length of synthetic batches; 0 draws lengths.
        progress: Called with a line of text after each measurement.
    """
    job = StepJob(recipe.to_toml(), "", steps, max(3, steps // 5), tokens, corpus=bool(recipe.data.uri))
    peaks: dict[str, list[float]] = {}
    cpu_times: dict[str, list[dict[str, float]]] = {}
    text_lengths: list[float] = []

    def candidate(name: str) -> Callable[[], float]:
        def take() -> float:
            arguments = json.dumps(asdict(job) | {"engine": name})
            reading: dict[str, Any] = json.loads(
                in_fresh_process("mulan.benchmarks.step_process", [arguments], timeout_s=3600).splitlines()[-1]
            )
            if reading["peak_bytes"]:
                peaks.setdefault(name, []).append(reading["peak_bytes"] / 2**30)
            cpu_times.setdefault(name, []).append(reading["cpu_s"])
            if name == "bare":
                text_lengths.append(reading["tokens"])
            return float(reading["step_s"])

        return take

    names = ENGINES[: ENGINES.index(engine) + 1]
    times = interleaved(
        {name: candidate(name) for name in names},
        rounds=rounds,
        unit="s",
        on_reading=lambda name, number, seconds: progress(f"round {number}/{rounds}  {name}: {seconds:.3f} s per step"),
    )
    # the same batches in every measurement
    flops = flops_of_a_pair(recipe, tokens=round(text_lengths[0])) if recipe.scale.use_gpu else 0.0
    rows = [_row(name, times, peaks, cpu_times, recipe, flops) for name in names]
    goals = [
        Goal(
            f"{engine} / bare, median of rounds", ratios(times[engine], times["bare"]).median, GOAL_RATIO, at_most=True
        )
    ]
    if recipe.scale.use_gpu:
        share = rows[-1].figures["share of peak arithmetic"].median
        goals.append(Goal("share of the chip's peak arithmetic", share, GOAL_SHARE_OF_PEAK, at_most=False))
    remarks = [_REMARK_ON_SHARE] if recipe.batch.micro_batches > recipe.scale.max_workers else []
    return Report("step", step_settings(recipe, steps=steps), rows, goals, remarks)


def step_settings(recipe: Recipe, *, steps: int) -> dict[str, Any]:
    """Returns the settings on which a measurement of steps depends, by name.

    Args:
        steps: Number of steps timed in each measurement.
    """
    return {
        "pairs": recipe.batch.pairs,
        "micro-batches": recipe.batch.micro_batches,
        "workers": recipe.scale.max_workers,
        "precision": recipe.train.precision,
        "zero stage": recipe.train.zero_stage,
        "batches": "from the corpus" if recipe.data.uri else "synthetic",
        "steps per measurement": steps,
    }


_REMARK_ON_SHARE = (
    "With several micro-batches per worker, the exact step runs each forward pass twice; the bare loop runs it once, "
    "with another loss."
)


def _row(
    name: str,
    times: dict[str, Figure],
    peaks: dict[str, list[float]],
    cpu_times: dict[str, list[dict[str, float]]],
    recipe: Recipe,
    flops: float,
) -> Row:
    pairs = recipe.batch.pairs
    figures = {
        "step": times[name],
        "/ bare": ratios(times[name], times["bare"]),
        "pairs/s": Figure(tuple(pairs / seconds for seconds in times[name].values), ""),
    }
    for kind in dict.fromkeys(kind for reading in cpu_times[name] for kind in reading):
        figures[f"CPU of {kind}"] = Figure(tuple(reading.get(kind, 0.0) for reading in cpu_times[name]), "s")
    if name in peaks:
        figures["peak memory of a worker"] = Figure(tuple(peaks[name]), "GiB")
    if recipe.scale.use_gpu:
        peak = (peak_flops(torch.device("cuda"), recipe.train.precision) or math.nan) * recipe.scale.max_workers
        # a backward pass costs two forward passes; the second forward pass of the exact step is not counted as work
        work = 3 * flops * pairs
        figures["share of peak arithmetic"] = Figure(tuple(work / seconds / peak for seconds in times[name].values), "")
    return Row(name, figures, _REMARKS[name])


def flops_of_a_pair(recipe: Recipe, *, tokens: int) -> float:
    """Returns the floating-point operations of the forward pass of one pair.

    Args:
        tokens: Length of the text. For texts of several lengths, their mean gives slightly too few operations, as those
            of attention grow with the square of the length.
    """
    two = recipe.replace({"batch.pairs_per_micro_batch": 2})
    device = torch.device("cuda" if recipe.scale.use_gpu else "cpu")
    model = model_to_measure(two).to(device)
    # of length 0, texts would have random lengths
    batch = to_device(synthetic_batch(two, step=0, micro_batch=0, tokens=max(1, tokens)), device, text_groups=1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*batch.inputs)
    return counter.get_total_flops() / 2

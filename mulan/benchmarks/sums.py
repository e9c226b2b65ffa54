"""Benchmark of the step on DeepSpeed with and without exact sums: time and memory.

``python -m mulan.benchmarks.sums JOB_JSON`` takes one measurement of the time in separate processes and prints it as
JSON. Two engines in the same processes run every step in turn, so that other load affects both.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from mulan.benchmarks.measure import Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.step_process import StepJob, preloaded, step_on, synchronize
from mulan.benchmarks.steps import step_settings
from mulan.benchmarks.worker_group import read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.freed_memory import keep_freed_memory
from mulan.model.deterministic import deterministic_kernels

GOAL_RATIO = 1.03
"""Maximum duration of a step with exact sums relative to one without."""


def bench_sums(recipe: Recipe, *, rounds: int, steps: int, tokens: int, progress: Callable[[str], None]) -> Report:
    """Measures both kinds of steps in turn in fresh processes, and the memory of each in separate processes.

    Args:
        recipe: Recipe of the step. Batches come from its ``data.uri``, or are synthetic.
        rounds: Number of measurements.
        steps: Number of steps of each kind timed in each measurement.
        tokens: Text length of synthetic batches; 0 draws lengths.
        progress: Called with a line of text after each measurement.
    """
    job = StepJob(recipe.to_toml(), "deepspeed", steps, max(2, steps // 5), tokens, corpus=bool(recipe.data.uri))
    pairs: list[dict[str, float]] = []
    peaks: dict[bool, list[float]] = {True: [], False: []}
    for number in range(1, rounds + 1):
        pairs.append(_reading("sums", job))
        progress(f"round {number}/{rounds}  exact: {pairs[-1]['exact_s']:.3f} s per step, {pairs[-1]['ratio']:.3f} x")
        for exact, values in peaks.items():
            one_kind = replace(job, recipe_toml=with_sums(recipe, exact=exact).to_toml(), steps=1, warmup_steps=1)
            values.append(_reading("step_process", one_kind)["peak_bytes"] / 2**30)
    ratio = Figure(tuple(pair["ratio"] for pair in pairs), "x")
    rows = [
        _row("plain", "plain_s", pairs, peaks[False], {}),
        _row("exact", "exact_s", pairs, peaks[True], {"/ plain": ratio}),
    ]
    goal = Goal("exact / plain, median of rounds", ratio.median, GOAL_RATIO, at_most=True)
    return Report("sums", step_settings(recipe, steps=steps), rows, [goal])


def _reading(module: str, job: StepJob) -> dict[str, float]:
    output = in_fresh_process(f"mulan.benchmarks.{module}", [json.dumps(asdict(job))], timeout_s=3600)
    reading: dict[str, float] = json.loads(output.splitlines()[-1])
    return reading


def _row(name: str, times: str, pairs: list[dict[str, float]], peaks: list[float], ratio: dict[str, Figure]) -> Row:
    step = Figure(tuple(pair[times] for pair in pairs), "s")
    return Row(name, {"step": step, **ratio, "peak memory of a worker": Figure(tuple(peaks), "GiB")})


@dataclass(frozen=True)
class Pair:
    """Medians over the steps of both kinds."""

    exact_s: float
    """Duration of a step with exact sums, in seconds."""
    plain_s: float
    """Duration of a step without exact sums, in seconds."""
    ratio: float
    """Ratio of both for the same batches."""


def with_sums(recipe: Recipe, *, exact: bool) -> Recipe:
    """Returns the recipe with or without exact sums."""
    return recipe.replace({"train.exact_sums": exact})


def read(job: StepJob) -> Pair:
    """Runs the measurement with the recipe's number of workers."""
    scale = recipe_from_toml(job.recipe_toml, name="benchmark").scale
    reading: dict[str, Any] = read_in_workers(_measure, scale, job)[0]
    return Pair(**reading)


def _measure(job: StepJob, device: torch.device) -> dict[str, float]:
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    keep_freed_memory()
    batches = preloaded(recipe, job)
    steps = {exact: step_on(with_sums(recipe, exact=exact), job, device) for exact in (True, False)}
    times: dict[bool, list[float]] = {True: [], False: []}
    with deterministic_kernels(recipe.train.deterministic):
        for number in range(-job.warmup_steps, job.steps):
            for exact in (True, False) if number % 2 else (False, True):
                synchronize(device)
                begun = time.perf_counter()
                steps[exact](batches[number % len(batches)])
                synchronize(device)
                if number >= 0:
                    times[exact].append(time.perf_counter() - begun)
    ratios = [exact / plain for exact, plain in zip(times[True], times[False], strict=True)]
    return asdict(Pair(*map(statistics.median, (times[True], times[False], ratios))))


if __name__ == "__main__":
    print(json.dumps(asdict(read(StepJob(**json.loads(sys.argv[1]))))))

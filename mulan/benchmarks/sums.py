"""The step on DeepSpeed with exact sums against the step without them: time, and memory.

``python -m mulan.benchmarks.sums JOB_JSON`` takes one reading of the time, in processes of its own, and prints it as
JSON. Two engines in the same processes take every step in turn: what else the machine does then meets both.
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
from mulan.benchmarks.step_process import StepJob, preloaded, step_on, wait
from mulan.benchmarks.steps import step_settings
from mulan.benchmarks.worker_group import read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.freed_memory import keep_freed_memory
from mulan.training.deterministic import deterministic_kernels

GOAL_RATIO = 1.03


def bench_sums(recipe: Recipe, *, rounds: int, steps: int, tokens: int, progress: Callable[[str], None]) -> Report:
    """Measures both kinds of steps in turn, ``rounds`` times in fresh processes, and the memory of each in its own.

    Args:
        recipe: with ``data.uri`` its batches are real ones, otherwise noise.
        steps: timed of each kind in each reading.
        tokens: of every text of a batch of noise; 0 draws lengths.
    """
    job = StepJob(recipe.to_toml(), "deepspeed", steps, max(2, steps // 5), tokens, corpus=bool(recipe.data.uri))
    pairs: list[dict[str, float]] = []
    peaks: dict[bool, list[float]] = {True: [], False: []}
    for number in range(1, rounds + 1):
        pairs.append(_reading("sums", job))
        progress(f"round {number}/{rounds}  exact: {pairs[-1]['exact_s']:.3f} s a step, {pairs[-1]['ratio']:.3f} x")
        for exact, found in peaks.items():
            of_one = replace(job, recipe_toml=with_sums(recipe, exact=exact).to_toml(), steps=1, warmup_steps=1)
            found.append(_reading("step_process", of_one)["peak_bytes"] / 2**30)
    ratio = Figure(tuple(pair["ratio"] for pair in pairs), "x")
    rows = [
        _row("plain", "plain_s", pairs, peaks[False], {}),
        _row("exact", "exact_s", pairs, peaks[True], {"/ plain": ratio}),
    ]
    goal = Goal("exact / plain, median of rounds", ratio.median, GOAL_RATIO, at_most=True)
    return Report("sums", step_settings(recipe, steps=steps), rows, [goal])


def _reading(module: str, job: StepJob) -> dict[str, float]:
    told = in_fresh_process(f"mulan.benchmarks.{module}", [json.dumps(asdict(job))], timeout_s=3600)
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def _row(name: str, times: str, pairs: list[dict[str, float]], peaks: list[float], more: dict[str, Figure]) -> Row:
    step = Figure(tuple(pair[times] for pair in pairs), "s")
    return Row(name, {"step": step, **more, "peak memory of a worker": Figure(tuple(peaks), "GiB")})


@dataclass(frozen=True)
class Pair:
    """Medians over the steps, of one worker that waited for all of them."""

    exact_s: float
    plain_s: float
    ratio: float
    """What an exact step takes, over what a plain one of the same batches does."""


def with_sums(recipe: Recipe, *, exact: bool) -> Recipe:
    """Returns the recipe with exact sums or without."""
    return recipe.replace({"train.exact_sums": exact})


def read(job: StepJob) -> Pair:
    """Takes the reading with the recipe's number of workers."""
    scale = recipe_from_toml(job.recipe_toml, name="benchmark").scale
    found: dict[str, Any] = read_in_workers(_measure, scale, job)[0]
    return Pair(**found)


def _measure(job: StepJob, device: torch.device) -> dict[str, float]:
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    keep_freed_memory()
    batches = preloaded(recipe, job)
    steps = {exact: step_on(with_sums(recipe, exact=exact), job, device) for exact in (True, False)}
    times: dict[bool, list[float]] = {True: [], False: []}
    with deterministic_kernels(recipe.train.deterministic):
        for number in range(-job.warmup_steps, job.steps):
            for exact in (True, False) if number % 2 else (False, True):
                wait(device)
                begun = time.perf_counter()
                steps[exact](batches[number % len(batches)])
                wait(device)
                if number >= 0:
                    times[exact].append(time.perf_counter() - begun)
    ratios = [exact / plain for exact, plain in zip(times[True], times[False], strict=True)]
    return asdict(Pair(*map(statistics.median, (times[True], times[False], ratios))))


if __name__ == "__main__":
    print(json.dumps(asdict(read(StepJob(**json.loads(sys.argv[1]))))))

"""One reading of what exact sums cost: ``python -m mulan.benchmarks.sums_process JSON`` prints JSON.

Two engines in the same processes take every step in turn: what else the machine does then meets both.
"""

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mulan.benchmarks.step_process import Job, preloaded, step_on, wait
from mulan.benchmarks.worker_group import read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.freed_memory import keep_freed_memory
from mulan.training.deterministic import deterministic_kernels


@dataclass(frozen=True)
class Pair:
    """Medians over the steps, of one worker that waited for all of them."""

    exact_s: float
    plain_s: float
    ratio: float
    """What an exact step takes, over what a plain one of the same batches does."""


def with_sums(recipe: Recipe, *, exact: bool) -> Recipe:
    """Returns the recipe with exact sums or without."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"exact_sums": exact})})


def read(job: Job) -> Pair:
    """Takes the reading with the recipe's number of workers."""
    scale = recipe_from_toml(job.recipe_toml, name="benchmark").scale
    found: dict[str, Any] = read_in_workers(_measure, scale, job)[0]
    return Pair(**found)


def _measure(job: Job, device: torch.device) -> dict[str, float]:
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
    print(json.dumps(asdict(read(Job(**json.loads(sys.argv[1]))))))

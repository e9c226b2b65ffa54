"""The step on DeepSpeed with exact sums against the step without them: time, and memory."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace

from mulan.benchmarks.measure import Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.step_process import Job
from mulan.benchmarks.steps import step_settings
from mulan.benchmarks.sums_process import with_sums
from mulan.config.recipe import Recipe

GOAL_RATIO = 1.03


def bench_sums(recipe: Recipe, *, rounds: int, steps: int, tokens: int, progress: Callable[[str], None]) -> Report:
    """Measures both kinds of steps in turn, ``rounds`` times in fresh processes, and the memory of each in its own.

    Args:
        recipe: with ``data.uri`` its batches are real ones, otherwise noise.
        steps: timed of each kind in each reading.
        tokens: of every text of a batch of noise; 0 draws lengths.
    """
    job = Job(recipe.to_toml(), "deepspeed", steps, max(2, steps // 5), tokens, corpus=bool(recipe.data.uri))
    pairs: list[dict[str, float]] = []
    peaks: dict[bool, list[float]] = {True: [], False: []}
    for number in range(1, rounds + 1):
        pairs.append(_reading("sums_process", job))
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


def _reading(module: str, job: Job) -> dict[str, float]:
    told = in_fresh_process(f"mulan.benchmarks.{module}", [json.dumps(asdict(job))], timeout_s=3600)
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def _row(name: str, times: str, pairs: list[dict[str, float]], peaks: list[float], more: dict[str, Figure]) -> Row:
    step = Figure(tuple(pair[times] for pair in pairs), "s")
    return Row(name, {"step": step, **more, "peak memory of a worker": Figure(tuple(peaks), "GiB")})

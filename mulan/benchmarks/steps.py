"""The step: ours under each engine, up to Ray Train with Ray Data, against a bare PyTorch loop."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mulan.benchmarks.drawn import drawn_batch, model_to_measure
from mulan.benchmarks.measure import Figure, in_fresh_process, interleaved, ratios
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.step_process import StepJob
from mulan.config.recipe import Recipe
from mulan.model.device_batch import to_device

ENGINES = ("bare", "bare_kept", "torch", "deepspeed", "ray")
"""Each does what the one before does, and more."""

GOAL_RATIO, GOAL_SHARE_OF_PEAK = 1.10, 0.40

_REMARKS = {
    "bare": "PyTorch's data parallelism, preloaded batches",
    "bare_kept": "the same, keeping freed memory from step to step as our workers do: on CPUs a part of the difference",
    "torch": "our step, plain PyTorch engine, preloaded batches",
    "deepspeed": "our step, DeepSpeed engine, preloaded batches",
    "ray": "the whole: Ray Train, DeepSpeed, Ray Data",
}

_PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12}
"""Dense bf16 arithmetic of a chip by its name, from the vendor's data sheets."""


def bench_step(
    recipe: Recipe, *, engine: str, rounds: int, steps: int, tokens: int, progress: Callable[[str], None]
) -> Report:
    """Measures the engines from ``bare`` up to ``engine``, each reading in fresh processes, in turn.

    Args:
        recipe: with ``data.uri`` its batches are real ones, otherwise noise. ``ray`` needs it.
        steps: timed in each reading.
        tokens: of every text of a batch of noise; 0 draws lengths.
    """
    job = StepJob(recipe.to_toml(), "", steps, max(3, steps // 5), tokens, corpus=bool(recipe.data.uri))
    peaks: dict[str, list[float]] = {}

    def reading(name: str) -> Callable[[], float]:
        def take() -> float:
            arguments = json.dumps(asdict(job) | {"engine": name})
            found: dict[str, Any] = json.loads(
                in_fresh_process("mulan.benchmarks.step_process", [arguments], timeout_s=3600).splitlines()[-1]
            )
            if found["peak_bytes"]:
                peaks.setdefault(name, []).append(found["peak_bytes"] / 2**30)
            return float(found["step_s"])

        return take

    names = ENGINES[: ENGINES.index(engine) + 1]
    times = interleaved(
        {name: reading(name) for name in names},
        rounds=rounds,
        unit="s",
        on_reading=lambda name, number, seconds: progress(f"round {number}/{rounds}  {name}: {seconds:.3f} s a step"),
    )
    rows = [_row(name, times, peaks, recipe) for name in names]
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
    """Returns what a reading of steps depends on, by name.

    Args:
        steps: of a reading.
    """
    return {
        "pairs": recipe.batch.pairs,
        "micro-batches": recipe.batch.micro_batches,
        "workers": recipe.scale.max_workers,
        "precision": recipe.train.precision,
        "zero stage": recipe.train.zero_stage,
        "batches": "of the corpus" if recipe.data.uri else "of noise",
        "steps a reading": steps,
    }


_REMARK_ON_SHARE = (
    "Several micro-batches a worker: the exact step runs each forward twice, the bare loop once and not exactly."
)


def _row(name: str, times: dict[str, Figure], peaks: dict[str, list[float]], recipe: Recipe) -> Row:
    pairs = recipe.batch.pairs
    figures = {
        "step": times[name],
        "/ bare": ratios(times[name], times["bare"]),
        "pairs/s": Figure(tuple(pairs / seconds for seconds in times[name].values), ""),
    }
    if name in peaks:
        figures["peak memory of a worker"] = Figure(tuple(peaks[name]), "GiB")
    if recipe.scale.use_gpu:
        peak = _peak_flops() * recipe.scale.max_workers
        work = 3 * flops_of_a_pair(recipe) * pairs  # backward is twice the forward; the second forward is our own cost
        figures["share of peak arithmetic"] = Figure(tuple(work / seconds / peak for seconds in times[name].values), "")
    return Row(name, figures, _REMARKS[name])


def flops_of_a_pair(recipe: Recipe) -> float:
    """Floating-point operations of the forward of one pair, with texts of full length."""
    two = recipe.replace({"batch.pairs_per_micro_batch": 2})
    device = torch.device("cuda" if recipe.scale.use_gpu else "cpu")
    model = model_to_measure(two).to(device)
    tokens = recipe.text_tower.max_tokens
    batch = to_device(drawn_batch(two, step=0, micro_batch=0, tokens=tokens), device, text_groups=1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*batch.inputs)
    return counter.get_total_flops() / 2


def _peak_flops() -> float:
    name = torch.cuda.get_device_name()
    return next((flops for chip, flops in _PEAK_FLOPS.items() if chip in name), float("nan"))

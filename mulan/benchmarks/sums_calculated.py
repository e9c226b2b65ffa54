"""Estimated cost of exact sums on GPUs, calculated from a recipe's shapes and from data sheets."""

from dataclasses import dataclass

from mulan.benchmarks.measure import BenchmarkRefused, Figure
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.steps import flops_of_a_pair
from mulan.benchmarks.synthetic import model_to_measure
from mulan.config.recipe import Recipe

GOAL_PERCENT = 2.0
"""Maximum share of a step that exact sums may add."""

H100_FLOPS = 989e12
"""Peak floating-point operations per second of an H100 on dense bf16 matrices."""
H100_BYTES_PER_S = 3.35e12
"""Memory bandwidth of an H100."""
SHARE_OF_PEAK = 0.4
"""Share of peak arithmetic of a good training loop; if it is lower, exact sums are a smaller share of a step."""

# Bytes of memory traffic per trainable parameter.
ADDED_BY_FIRST_TERM = 32
"""Bytes added by the first micro-batch: concatenation (8), extrema (4), rounding (8), conversion to float64 (12)."""
ADDED_BY_TERM = 40 - 12
"""Bytes added by each further micro-batch: the same with addition in float64 (20), less plain accumulation (12)."""
ADDED_BY_SUM = 20
"""Bytes added by the sum: conversion to float32 (12) and scaling (8)."""
ADDED_BY_NORM = 152 - 4
"""Bytes added by the norm, which sums two exact halves of each square; a plain norm reads each number once."""


@dataclass(frozen=True)
class Cluster:
    """A number of GPUs and the bandwidth between them."""

    name: str
    """Description of the cluster."""
    workers: int
    """Number of GPUs."""
    bytes_per_s: float
    """Outgoing bandwidth of a machine of eight GPUs, or of one GPU if there is only one machine."""


CLUSTERS = (
    Cluster("8 workers in one machine", 8, 450e9),  # NVLink of the fourth generation
    Cluster("64 in 8, 400 Gbit/s for each GPU", 64, 400e9),
    Cluster("64 in 8, 400 Gbit/s for each machine", 64, 50e9),
)


def calculate_sums(recipe: Recipe) -> Report:
    """Calculates a row for each cluster whose workers can share the micro-batches evenly.

    Runs one forward pass of two pairs on the CPU.

    Raises:
        BenchmarkRefused: No cluster can share the micro-batches.
    """
    clusters = [each for each in CLUSTERS if recipe.batch.micro_batches % each.workers == 0]
    if not clusters:
        sizes = " nor ".join(str(workers) for workers in sorted({each.workers for each in CLUSTERS}))
        raise BenchmarkRefused(
            f"batch.micro_batches={recipe.batch.micro_batches}: neither {sizes} workers can share them, for which "
            "the calculation is made; use another --recipe, or --set batch.micro_batches=64"
        )
    on_cpu = recipe.replace({"scale.use_gpu": False, "train.precision": "float32"})
    num_parameters = sum(p.numel() for p in model_to_measure(on_cpu).parameters() if p.requires_grad)
    flops = flops_of_a_pair(on_cpu, tokens=on_cpu.text_tower.max_tokens)
    rows = [_row(recipe, each, num_parameters, flops) for each in clusters]
    settings = {
        "trainable parameters": f"{num_parameters / 1e6:.1f} M",
        "forward of a pair": f"{flops / 1e9:.1f} GFLOP",
        "pairs": recipe.batch.pairs,
        "micro-batches": recipe.batch.micro_batches,
        "zero stage": recipe.train.zero_stage,
    }
    goals = [Goal(f"{r.name}: % of a step", r.figures["added"].median, GOAL_PERCENT, at_most=True) for r in rows]
    return Report("sums, by calculation", settings, rows, goals, [_ASSUMED])


_ASSUMED = (
    f"Assumed: H100s at {SHARE_OF_PEAK:.0%} of {H100_FLOPS / 1e12:.0f} TFLOP/s, their memory at "
    f"{H100_BYTES_PER_S / 1e12:.2f} TB/s, and no overlap of memory traffic or communication with computation."
)


def _row(recipe: Recipe, cluster: Cluster, num_parameters: int, flops: float) -> Row:
    step_s = plain_step_s(recipe, cluster.workers, flops)
    moved = added_memory_traffic(recipe, cluster.workers, num_parameters) / H100_BYTES_PER_S
    plain, exact = (sent_bytes(recipe, cluster.workers, num_parameters, exact=exact) for exact in (False, True))
    total = moved + (exact - plain) / cluster.bytes_per_s
    shards = cluster.workers if recipe.train.zero_stage == 3 else 1
    figures = {
        "arithmetic of a step": (step_s, "s"),
        "sums": (8 * num_parameters / shards / 2**30, "GiB"),
        "moved": (moved * 1e3, "ms"),
        "sent, plain": (plain / 1e9, "GB"),
        "sent, exact": (exact / 1e9, "GB"),
        "added": (100 * total / step_s, "%"),
    }
    return Row(cluster.name, {name: Figure((value,), unit) for name, (value, unit) in figures.items()})


def plain_step_s(recipe: Recipe, workers: int, flops: float) -> float:
    """Returns the duration of the arithmetic of a step in seconds; a backward pass costs as much as two forward passes.

    Args:
        flops: Floating-point operations of the forward pass of one pair.
    """
    share = recipe.batch.micro_batches // workers
    forwards = 1 if share == 1 else 2
    return (forwards + 2) * share * recipe.batch.pairs_per_micro_batch * flops / (SHARE_OF_PEAK * H100_FLOPS)


def added_memory_traffic(recipe: Recipe, workers: int, num_parameters: int) -> float:
    """Returns the additional memory traffic of a worker per step with exact sums, in bytes."""
    share = recipe.batch.micro_batches // workers
    by_terms = ADDED_BY_FIRST_TERM + (share - 1) * ADDED_BY_TERM
    shards = workers if recipe.train.zero_stage > 0 else 1
    return (by_terms + ADDED_BY_SUM / shards + ADDED_BY_NORM / workers) * num_parameters


def sent_bytes(recipe: Recipe, workers: int, num_parameters: int, *, exact: bool) -> float:
    """Returns the bytes that each worker sends per step for the sums, with ring algorithms, the minimum possible.

    Stages 1 and 2 need one reduce-scatter per step; DeepSpeed's own sums need one per micro-batch at stage 2, as both
    kinds do at stage 3. Stage 0 needs an all-reduce, which sends twice as much.
    """
    share = recipe.batch.micro_batches // workers
    times = {0: 2, 1: 1, 2: 1 if exact else share, 3: share}[recipe.train.zero_stage]
    return times * (workers - 1) / workers * num_parameters * (8 if exact else 4)

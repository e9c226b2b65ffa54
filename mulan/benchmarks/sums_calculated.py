"""What exact sums add to a step on GPUs, by calculation from a recipe's shapes and from data sheets."""

from dataclasses import dataclass

from mulan.benchmarks.drawn import model_to_measure
from mulan.benchmarks.measure import BenchmarkRefused, Figure
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.steps import flops_of_a_pair
from mulan.config.recipe import Recipe

GOAL_PERCENT = 2.0

H100_FLOPS = 989e12
"""An H100 does so many floating-point operations a second on dense matrices in bf16."""
H100_BYTES_PER_S = 3.35e12
"""Its memory is read or written at this rate."""
SHARE_OF_PEAK = 0.4
"""What a good training loop has of an H100's arithmetic; with less of it, exact sums take a smaller share of a step."""

# Bytes that are moved through memory for every trained number.
ADDED_BY_FIRST_TERM = 32
"""Joining (8), extremes (4), rounding (8), converting to float64 (12); a plain sum begins with its first term."""
ADDED_BY_TERM = 40 - 12
"""The same, but adding to float64 (20); plain accumulation reads twice and writes once."""
ADDED_BY_SUM = 20
"""Converting to float32 (12) and scaling (8)."""
ADDED_BY_NORM = 152 - 4
"""Two exact halves of each square, of a worker's share of the numbers; a plain norm reads them once."""


@dataclass(frozen=True)
class Cluster:
    """GPUs, and what they reach each other by."""

    name: str
    workers: int
    bytes_per_s: float
    """What leaves a machine of eight GPUs in a second, or one GPU where there is one machine."""


CLUSTERS = (
    Cluster("8 workers in one machine", 8, 450e9),  # NVLink of the fourth generation
    Cluster("64 in 8, 400 Gbit/s for each GPU", 64, 400e9),
    Cluster("64 in 8, 400 Gbit/s for each machine", 64, 50e9),
)


def calculate_sums(recipe: Recipe) -> Report:
    """Calculates a row for each of the clusters that the micro-batches can be shared on.

    Runs one forward pass of two pairs, on this machine's CPU.

    Raises:
        BenchmarkRefused: they can be shared on none.
    """
    clusters = [each for each in CLUSTERS if recipe.batch.micro_batches % each.workers == 0]
    if not clusters:
        sizes = " nor ".join(str(workers) for workers in sorted({each.workers for each in CLUSTERS}))
        raise BenchmarkRefused(
            f"batch.micro_batches={recipe.batch.micro_batches}: neither {sizes} workers can share them, and the "
            "calculation is of such; take another --recipe, or --set batch.micro_batches=64"
        )
    on_cpu = recipe.replace({"scale.use_gpu": False, "train.precision": "float32"})
    numbers = sum(p.numel() for p in model_to_measure(on_cpu).parameters() if p.requires_grad)
    flops = flops_of_a_pair(on_cpu)
    rows = [_row(recipe, each, numbers, flops) for each in clusters]
    settings = {
        "trained numbers": f"{numbers / 1e6:.1f} M",
        "forward of a pair": f"{flops / 1e9:.1f} GFLOP",
        "pairs": recipe.batch.pairs,
        "micro-batches": recipe.batch.micro_batches,
        "zero stage": recipe.train.zero_stage,
    }
    goals = [Goal(f"{r.name}: % of a step", r.figures["added"].median, GOAL_PERCENT, at_most=True) for r in rows]
    return Report("sums, by calculation", settings, rows, goals, [_ASSUMED])


_ASSUMED = (
    f"Assumed: H100s at {SHARE_OF_PEAK:.0%} of {H100_FLOPS / 1e12:.0f} TFLOP/s, their memory at "
    f"{H100_BYTES_PER_S / 1e12:.2f} TB/s, and nothing that is moved or sent hidden behind anything else."
)


def _row(recipe: Recipe, cluster: Cluster, numbers: int, flops: float) -> Row:
    step_s = plain_step_s(recipe, cluster.workers, flops)
    moved = moved_more(recipe, cluster.workers, numbers) / H100_BYTES_PER_S
    plain, exact = (sent(recipe, cluster.workers, numbers, exact=exact) for exact in (False, True))
    total = moved + (exact - plain) / cluster.bytes_per_s
    shards = cluster.workers if recipe.train.zero_stage == 3 else 1
    figures = {
        "arithmetic of a step": (step_s, "s"),
        "sums": (8 * numbers / shards / 2**30, "GiB"),
        "moved": (moved * 1e3, "ms"),
        "sent, plain": (plain / 1e9, "GB"),
        "sent, exact": (exact / 1e9, "GB"),
        "added": (100 * total / step_s, "%"),
    }
    return Row(cluster.name, {name: Figure((value,), unit) for name, (value, unit) in figures.items()})


def plain_step_s(recipe: Recipe, workers: int, flops: float) -> float:
    """Returns how long the arithmetic of a step takes; the backward pass has twice that of a forward pass.

    Args:
        flops: of the forward pass of one pair.
    """
    share = recipe.batch.micro_batches // workers
    forwards = 1 if share == 1 else 2
    return (forwards + 2) * share * recipe.batch.pairs_per_micro_batch * flops / (SHARE_OF_PEAK * H100_FLOPS)


def moved_more(recipe: Recipe, workers: int, numbers: int) -> float:
    """Returns the bytes a step that a worker moves through its memory with exact sums and not with plain ones."""
    share = recipe.batch.micro_batches // workers
    of_terms = ADDED_BY_FIRST_TERM + (share - 1) * ADDED_BY_TERM
    shards = workers if recipe.train.zero_stage > 0 else 1
    return (of_terms + ADDED_BY_SUM / shards + ADDED_BY_NORM / workers) * numbers


def sent(recipe: Recipe, workers: int, numbers: int, *, exact: bool) -> float:
    """Returns the bytes a step that each worker sends for the sums: in a ring, which is the least there can be.

    At stages 1 and 2 that is a reduce-scatter a step; DeepSpeed's own sums take one after every micro-batch at stage 2,
    as both kinds do at stage 3. At stage 0 it is an all-reduce, which sends twice as much.
    """
    share = recipe.batch.micro_batches // workers
    times = {0: 2, 1: 1, 2: 1 if exact else share, 3: share}[recipe.train.zero_stage]
    return times * (workers - 1) / workers * numbers * (8 if exact else 4)

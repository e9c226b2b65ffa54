"""Benchmark of checkpoints at full size: the pause of training, writing in the background, and the restart."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from mulan.benchmarks.checkpoint_process import CheckpointRequest
from mulan.benchmarks.measure import Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.worker_group import Reading
from mulan.config.recipe import Recipe

GOAL_WRITING, GOAL_OTHERS, GOAL_RESTORED = 1.1, 0.1, 1.2
"""Maximum additional memory of a worker: as a multiple of what it writes; beyond what it writes, and of a restart
beyond the memory afterwards, as multiples of the checkpoint's size."""


class Place(NamedTuple):
    """A part of the benchmark and the number of workers and ZeRO stage to measure it with."""

    part: str
    """Part as in :class:`mulan.benchmarks.checkpoint_process.CheckpointRequest`."""
    workers: int
    """Number of workers."""
    stage: int
    """ZeRO stage."""

    def __str__(self) -> str:
        return f"{self.part}, {self.workers} process{'es' if self.workers > 1 else ''}, stage {self.stage}"


def bench_checkpoint(recipe: Recipe, *, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measures saving from two CPU processes with gloo, and restoring in two, and in one at another ZeRO stage.

    The model is the recipe's with randomly initialised weights, after one step on four pairs of noise. Each measurement
    runs in fresh processes.

    Args:
        recipe: Recipe whose ``train.zero_stage`` is used for saving.
        rounds: Number of measurements.
        progress: Called with a line of text after each measurement.
    """
    stage = recipe.train.zero_stage
    places = (Place("save", 2, stage), Place("restore", 2, stage), Place("restore", 1, (stage + 2) % 4))
    readings: dict[Place, list[list[Reading]]] = {place: [] for place in places}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for place in places:
                readings[place].append(_read(place, recipe, folder))
                seconds = {name: f"{slowest:.2f} s" for name, slowest in _max(readings[place][-1], "_s").items()}
                text = "  ".join(f"{name.removesuffix('_s')} {value}" for name, value in seconds.items())
                progress(f"round {number + 1}/{rounds}  {place}: {text}")
    size_mb = readings[places[0]][0][0]["size_mb"]
    rows = [_saved(places[0], readings[places[0]], size_mb)]
    rows += [_restored(place, readings[place], size_mb) for place in places[1:]]
    differing = max(one["differing"] for place in places[1:] for ranks in readings[place] for one in ranks)
    return Report(
        "Checkpoint",
        {"size": f"{size_mb:,.1f} MB", "rounds": rounds},
        rows,
        [
            Goal(f"{place}, {column}", row.figures[column].median, bound, at_most=True)
            for place, row in zip(places, rows, strict=True)
            for column, bound in _BOUNDS.items()
            if column in row.figures
        ]
        + [Goal("restored slices that differ from the saved ones", differing, 0, at_most=True)],
        [
            "Memory is the peak of a process: for saving, in addition to the memory before, relative to what it "
            "writes, and beyond that relative to the checkpoint's size; for restarting, in addition to the memory "
            "afterwards, relative to the checkpoint's size, and relative to the memory of the process afterwards.",
            "Values are maxima over processes. Checkpoints are read from the page cache.",
        ],
    )


_WRITING, _OTHERS = "memory of its share", "memory beyond its share"
_OVER, _PEAK = "memory beyond that afterwards", "peak of that afterwards"
_BOUNDS = {_WRITING: GOAL_WRITING, _OTHERS: GOAL_OTHERS, _OVER: GOAL_RESTORED, _PEAK: GOAL_RESTORED}


def _read(place: Place, recipe: Recipe, folder: str) -> list[Reading]:
    variant = recipe.replace(
        {
            "batch.micro_batches": 2,
            "batch.pairs_per_micro_batch": 2,
            "train.zero_stage": place.stage,
            "scale.workers": place.workers,
            "scale.use_gpu": False,
            "scale.cpus_per_worker": 1,
        }
    )
    request = json.dumps(asdict(CheckpointRequest(variant.to_toml(), place.part, folder)))
    output = in_fresh_process("mulan.benchmarks.checkpoint_process", [request], timeout_s=3600)
    readings: list[Reading] = json.loads(output.splitlines()[-1])
    return readings


def _saved(place: Place, readings: Sequence[Sequence[Reading]], size_mb: float) -> Row:
    slowest = [_max(ranks, "_s") for ranks in readings]
    of_share = [max(one["save_mb"] / one["own_mb"] for one in ranks) for ranks in readings]
    beyond_share = [max(one["save_mb"] - one["own_mb"] for one in ranks) for ranks in readings]
    return Row(
        str(place),
        {
            "training paused": Figure(tuple(one["pause_s"] for one in slowest), "s"),
            "background write": Figure(tuple(one["write_s"] for one in slowest), "s"),
            _WRITING: Figure(tuple(of_share), "x"),
            _OTHERS: Figure(tuple(mb / size_mb for mb in beyond_share), "x"),
        },
    )


def _restored(place: Place, readings: Sequence[Sequence[Reading]], size_mb: float) -> Row:
    slowest = [_max(ranks, "_s") for ranks in readings]
    over = [max(one["peak_mb"] - one["held_mb"] for one in ranks) for ranks in readings]
    peak = [max(1 + (one["peak_mb"] - one["held_mb"]) / one["process_mb"] for one in ranks) for ranks in readings]
    return Row(
        str(place),
        {
            "verified": Figure(tuple(one["read_s"] for one in slowest), "s"),
            "restored": Figure(tuple(one["restore_s"] for one in slowest), "s"),
            _OVER: Figure(tuple(mb / size_mb for mb in over), "x"),
            _PEAK: Figure(tuple(peak), "x"),
        },
    )


def _max(ranks: Sequence[Reading], suffix: str) -> Reading:
    """Returns the maximum over workers of every quantity whose name has the suffix."""
    names = {name for one in ranks for name in one if name.endswith(suffix)}
    return {name: max(one[name] for one in ranks if name in one) for name in sorted(names)}

"""Training without Ray: the same worker, engine and loop, with batches made in the training process itself."""

from collections.abc import Callable
from typing import Any

import torch

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import rank_and_world_size
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.health import Anomaly
from mulan.training.observer import TrainingObserver
from mulan.training.state import Progress
from mulan.training.worker import train_worker


def _untold(_: Anomaly) -> str:
    return ""


def train_inline(
    recipe: Recipe,
    run_uri: str,
    *,
    watch: Callable[[CheckpointedEngine, dict[str, Any]], None] | None = None,
    tell: Callable[[Anomaly], str] = _untold,
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Trains in this process group from the run's newest checkpoint: the lines of metrics, and the final state."""
    torch.set_num_threads(1)
    rank, workers = rank_and_world_size()
    found = read_newest(run_uri, on_corrupt=lambda text: None)
    first_step = found.progress.steps_done if found else 0
    schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=first_step)
    make = MicroBatchReader.of(recipe)
    batches = (make(schedule[number]) for number in range(len(schedule)))
    lines: list[dict[str, Any]] = []
    final: dict[str, torch.Tensor] = {}

    def reports(engine: CheckpointedEngine) -> TrainingObserver:
        def milestone(_: dict[str, Any], progress: Progress, checkpoint_due: bool) -> None:
            if not checkpoint_due:
                return
            state = engine.state()
            if rank == 0:
                write_checkpoint(run_uri, state, progress)
            if progress.steps_done == recipe.train.steps:
                final.update(state)

        def step(line: dict[str, Any]) -> None:
            lines.append(line)
            if watch is not None:
                watch(engine, line)

        return TrainingObserver(step=step, skipped=lambda step, recordings: None, milestone=milestone, found=tell)

    train_worker(recipe, found, batches, schedule, reports, torch.device("cpu"))
    return lines, final

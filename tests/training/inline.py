"""Training without Ray: the same worker, engine and loop, with batches read in the training process itself."""

from collections.abc import Callable
from typing import Any

import torch

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import rank_and_world_size
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.runs.state_parts import PartCopy
from mulan.tasks.evaluation import ValidationEvaluation
from mulan.tasks.task import Task, task_of
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.loop import train
from mulan.training.observer import NullObserver
from mulan.training.state import Progress
from mulan.training.worker import prepare_engine
from tests.checkpoints import whole_state


class InlineObserver(NullObserver):
    """Records the lines of metrics and the final state, and writes checkpoints."""

    def __init__(self, run_uri: str, engine: CheckpointedEngine, steps: int) -> None:
        self._run_uri, self._steps, self.engine = run_uri, steps, engine
        self.lines: list[dict[str, Any]] = []
        self.final: dict[str, torch.Tensor] = {}

    def on_step(self, metrics: dict[str, Any]) -> None:
        self.lines.append(metrics)

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        write_checkpoint(self._run_uri, PartCopy(self.engine.own_state()), progress)
        if progress.steps_done == self._steps:
            self.final = whole_state(self.engine)


def train_inline(
    recipe: Recipe,
    run_uri: str,
    new_observer: Callable[[str, CheckpointedEngine, int], InlineObserver] | None = None,
    task: Task | None = None,
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Trains in this process group from the run's newest checkpoint.

    Args:
        task: task to train instead of the recipe's.

    Returns:
        The lines of metrics, and the final state.
    """
    torch.set_num_threads(1)
    rank, workers = rank_and_world_size()
    checkpoint = read_newest(run_uri, on_corrupt=lambda text: None)
    progress = checkpoint.progress if checkpoint else Progress(steps_done=0)
    schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=progress.steps_done)
    make = MicroBatchReader.from_recipe(recipe)
    batches = (make(schedule[number]) for number in range(len(schedule)))
    task = task or task_of(recipe)
    evaluation = ValidationEvaluation.from_recipe(recipe, rank, workers)
    device = torch.device("cuda", torch.cuda.current_device()) if recipe.scale.use_gpu else torch.device("cpu")
    engine = prepare_engine(task, recipe, checkpoint, device)
    observer = (new_observer or InlineObserver)(run_uri, engine, recipe.train.steps)
    train(task, recipe, engine, batches, schedule, progress, observer, evaluation)
    return observer.lines, observer.final

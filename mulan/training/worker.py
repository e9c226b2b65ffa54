"""The setup of a training process before the loop, with any launcher: the engine and its restored state."""

from collections.abc import Callable

import torch

from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import TrainedModel
from mulan.tasks.task import Task
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.engines.exact import build_engine
from mulan.training.state import Checkpoint, load_weights


def prepare_engine(
    task: Task,
    recipe: Recipe,
    checkpoint: Checkpoint | None,
    device: torch.device,
    *,
    inspect: Callable[[TrainedModel], None] = lambda model: None,
) -> CheckpointedEngine:
    """Builds the task's model and its engine, and restores a checkpoint if there is one.

    It also sets the number of threads and the random seed of the process. Collective; needs an initialised process
    group.

    Args:
        checkpoint: The checkpoint to restore, the same on all workers. Its files are closed afterwards.
        inspect: Receives the whole model, before it is compiled and its weights are sharded; must not change it.
    """
    if device.type == "cpu":
        torch.set_num_threads(recipe.scale.cpus_per_worker)  # sums depend on it, so it is set by the recipe
    torch.manual_seed(recipe.train.seed)  # equal initial weights on every worker
    model = task.build_model()
    if checkpoint:
        load_weights(model, checkpoint.state)
    inspect(model)
    if recipe.train.compile:
        model.compile_towers()
    engine = build_engine(model, recipe, device=device)
    if checkpoint:
        progress = checkpoint.progress
        engine.restore_optimizer(checkpoint.state, progress.steps_done, updates=progress.updates)
        checkpoint.state.close()  # otherwise removed files would occupy the disk during the whole run
    return engine

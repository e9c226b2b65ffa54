"""The setup of a training process before the loop, with any launcher: the engine and its restored state."""

import torch
import torch._inductor.config

from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.towers.text import TextTower
from mulan.tasks.task import Task
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.engines.exact import build_engine
from mulan.training.state import Checkpoint, weights


def compile_towers(model: torch.nn.Module) -> None:
    """Compiles the audio tower and the text encoder in place, lazily; the names of their weights do not change.

    Random numbers are torch's own: gradient caching runs a micro-batch twice and needs the same dropout, but the
    compiler's random numbers would differ between forward passes with and without gradient.
    """
    torch._inductor.config.fallback_random = True
    for module in model.modules():
        if isinstance(module, AudioEncoder):
            module.tower.compile()
        elif isinstance(module, TextTower):
            module.encoder.compile()


def prepare_engine(
    task: Task, recipe: Recipe, checkpoint: Checkpoint | None, device: torch.device
) -> CheckpointedEngine:
    """Builds the task's model and its engine, and restores a checkpoint if there is one.

    It also sets the number of threads and the random seed of the process. Collective; needs an initialised process
    group.

    Args:
        checkpoint: The checkpoint to restore, the same on all workers. Its tensors are released afterwards.
    """
    if device.type == "cpu":
        torch.set_num_threads(recipe.scale.cpus_per_worker)  # sums depend on it, so it is set by the recipe
    torch.manual_seed(recipe.train.seed)  # equal initial weights on every worker
    model = task.build_model()
    if checkpoint:
        model.load_state_dict(weights(checkpoint.state))
    if recipe.train.compile:
        compile_towers(model)
    engine = build_engine(model, recipe, device=device)
    if checkpoint:
        progress = checkpoint.progress
        engine.restore_optimizer(checkpoint.state, progress.steps_done, updates=progress.updates)
        checkpoint.state.clear()  # otherwise the memory-mapped file would occupy memory and disk during the whole run
    return engine

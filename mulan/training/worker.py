"""What each training process prepares before the loop, under any launcher: its engine, with a checkpoint restored."""

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
    """Compiles, in place and at their first use, the audio network and the text encoder; names of weights stay.

    Random numbers stay torch's own: gradient caching runs a micro-batch again and must meet the same dropout, and the
    compiler's own numbers differ between a forward with and one without gradient.
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
    """Builds the task's model in this process and restores a checkpoint into it, if there is one.

    It also sets up the process itself: its threads and its random numbers. Collective; needs an initialised
    process group.

    Args:
        checkpoint: the same on all workers. Its tensors are released once they are restored.
    """
    if device.type == "cpu":
        torch.set_num_threads(recipe.scale.cpus_per_worker)  # on which sums depend: by the recipe, on every machine
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
        checkpoint.state.clear()  # mapped from a file, which would take up memory and disk while the run lasts
    return engine

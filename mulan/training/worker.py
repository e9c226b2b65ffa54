"""What each training process does: build the model, restore it, train. Runs under any launcher."""

from collections.abc import Callable, Iterator

import torch

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.schedule import Schedule
from mulan.model.build import build_model
from mulan.training.checkpoint import Checkpoint, Progress, weights
from mulan.training.compiled import compile_towers
from mulan.training.deterministic import deterministic_kernels
from mulan.training.engine import CheckpointedEngine
from mulan.training.exact_engine import engine_of
from mulan.training.loop import train
from mulan.training.reports import Reports


def train_worker(
    recipe: Recipe,
    found: Checkpoint | None,
    batches: Iterator[Batch],
    schedule: Schedule,
    reports: Callable[[CheckpointedEngine], Reports],
    device: torch.device,
) -> None:
    """Continues a run from a checkpoint, or begins it, to its end. Collective; needs an initialised process group.

    Args:
        found: the same on all workers. Its tensors are let go of once they are restored.
        batches: this worker's micro-batches from the schedule's first step on.
        schedule: its ``first_step`` is the step that the checkpoint stands at.
        reports: given the engine, what to do with results.

    Raises:
        NotDeterministic: the model has an operation without a deterministic kernel, and the recipe asks for such.
    """
    keep_freed_memory()  # on CPUs every step allocates all of its activations
    if device.type == "cpu":
        torch.set_num_threads(recipe.scale.cpus_per_worker)  # on which sums depend: by the recipe, on every machine
    torch.manual_seed(recipe.train.seed)  # equal first weights on every worker
    model = build_model(recipe)
    progress = found.progress if found else Progress(steps_done=0)
    assert progress.steps_done == schedule.first_step, f"data starts at {schedule.first_step}, weights at {progress}"
    if found:
        model.load_state_dict(weights(found.state))
    if recipe.train.compile:
        compile_towers(model)
    engine = engine_of(model, recipe, device=device)
    if found:
        engine.restore_optimizer(found.state, progress.steps_done, updates=progress.updates)
        found.state.clear()  # mapped from a file, which would take up memory and disk for as long as the run lasts
    with deterministic_kernels(recipe.train.deterministic):
        train(recipe, engine, batches, schedule, progress, reports(engine))

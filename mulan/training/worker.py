"""What each training process does: build the model, restore it, train. Runs under any launcher."""

from collections.abc import Callable, Iterator

import torch
import torch._inductor.config

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.schedule import Schedule
from mulan.model.build import Model, build_model
from mulan.model.joint import JointModel
from mulan.model.mulap import FusionModel
from mulan.training.deterministic import deterministic_kernels
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.engines.exact import build_engine
from mulan.training.loop import train
from mulan.training.observer import TrainingObserver
from mulan.training.state import Checkpoint, Progress, weights


def compile_towers(model: Model) -> None:
    """Compiles, in place and at their first use, the audio network and the text encoder; names of weights stay.

    Random numbers stay torch's own: gradient caching runs a micro-batch again and must meet the same dropout, and the
    compiler's own numbers differ between a forward with and one without gradient.
    """
    torch._inductor.config.fallback_random = True
    model.audio_encoder.tower.compile()
    if isinstance(model, JointModel | FusionModel):
        model.text_tower.encoder.compile()


def train_worker(
    recipe: Recipe,
    found: Checkpoint | None,
    batches: Iterator[Batch],
    schedule: Schedule,
    reports: Callable[[CheckpointedEngine], TrainingObserver],
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
    engine = build_engine(model, recipe, device=device)
    if found:
        engine.restore_optimizer(found.state, progress.steps_done, updates=progress.updates)
        found.state.clear()  # mapped from a file, which would take up memory and disk for as long as the run lasts
    with deterministic_kernels(recipe.train.deterministic):
        train(recipe, engine, batches, schedule, progress, reports(engine))

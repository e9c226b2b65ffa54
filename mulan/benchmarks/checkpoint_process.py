"""One measurement of saving or restoring in separate processes.

``python -m mulan.benchmarks.checkpoint_process JSON`` prints the measurements of every worker as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mulan.benchmarks.memory import extra_memory_mb, held_memory_mb
from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.benchmarks.worker_group import Reading, read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.freed_memory import keep_freed_memory
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.model.audio_encoder import TrainedModel
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.runs.checkpoint_list import checkpoints
from mulan.tasks.task import task_of
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.state import Checkpoint, Progress, weights
from mulan.training.step import train_step

TOKENS = 8


@dataclass(frozen=True)
class CheckpointRequest:
    """The parameters of a measurement."""

    recipe_toml: str
    """Recipe with the number of workers, the ZeRO stage and the batch size to use."""
    part: str
    """Part to measure: ``save``, which writes a checkpoint of step 1, or ``restore``, which requires one."""
    run_uri: str
    """Folder of the checkpoint."""


def read(request: CheckpointRequest) -> list[Reading]:
    """Returns the measurements of every worker."""
    recipe = recipe_from_toml(request.recipe_toml, name="benchmark")
    return read_in_workers({"save": _save, "restore": _restore}[request.part], recipe.scale, request)


def _save(request: CheckpointRequest, device: torch.device) -> Reading:
    """Measures ``gather_s``, for which training pauses, ``write_s`` in the background, their memory and ``size_mb``."""
    keep_freed_memory()
    recipe, (rank, _) = recipe_from_toml(request.recipe_toml, name="benchmark"), rank_and_world_size()
    engine = _engine(recipe, model_to_measure(recipe), device)
    indices = range(rank * engine.micro_batches_per_worker, (rank + 1) * engine.micro_batches_per_worker)
    batches = [synthetic_batch(recipe, step=0, micro_batch=index, tokens=TOKENS) for index in indices]
    statistics = RunningStatistics(engine.module)
    train_step(engine, batches, statistics, task_of(recipe), recipe.train)  # the first step creates the moments
    state: dict[str, torch.Tensor] = {}
    reading = _measured("gather", lambda: state.update(engine.state(kept=rank == 0)))
    if rank == 0:
        reading |= _measured("write", lambda: write_checkpoint(request.run_uri, state, Progress(steps_done=1)))
        reading["size_mb"] = sum(about["bytes"] for about in checkpoints(request.run_uri)[0].files.values()) / 1e6
    all_gather_objects(rank)  # no process exits before all have finished
    return reading


def _restore(request: CheckpointRequest, device: torch.device) -> Reading:
    """Measures ``read_s`` for reading and verifying, and ``restore_s`` for loading everything into model and engine.

    ``peak_mb`` is the peak memory, ``mapped_mb`` the part of it that is the mapped checkpoint file, and ``held_mb`` the
    memory afterwards, all in addition to that of the model. ``differing`` is the number of tensors that are not bitwise
    equal to those in the file.
    """
    keep_freed_memory()
    recipe = recipe_from_toml(request.recipe_toml, name="benchmark")
    model = model_to_measure(recipe)
    reading: Reading = {}
    engines: list[CheckpointedEngine] = []

    def restore() -> None:
        all_gather_objects(None)
        begun = time.perf_counter()
        checkpoint = _newest(request)
        was_read = time.perf_counter()
        model.load_state_dict(weights(checkpoint.state))
        loaded = time.perf_counter()
        engines.append(_engine(recipe, model, device))
        built = time.perf_counter()
        progress = checkpoint.progress
        engines[0].restore_optimizer(checkpoint.state, progress.steps_done, updates=progress.updates)
        reading["read_s"] = was_read - begun
        reading["restore_s"] = (loaded - was_read) + (time.perf_counter() - built)
        reading["mapped_mb"] = held_memory_mb()
        checkpoint.state.clear()
        reading["mapped_mb"] -= held_memory_mb()

    before_mb = held_memory_mb()
    reading["peak_mb"] = extra_memory_mb(restore, device="cpu")
    reading["held_mb"] = held_memory_mb() - before_mb
    state, expected = engines[0].state(), _newest(request).state
    assert state.keys() == expected.keys()
    reading["differing"] = float(sum(not torch.equal(state[name], tensor) for name, tensor in expected.items()))
    return reading


def _engine(recipe: Recipe, model: TrainedModel, device: torch.device) -> CheckpointedEngine:
    # imported here, since DeepSpeed selects its accelerator on import, from the worker's environment
    from mulan.training.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine.from_recipe(model, recipe, device=device)


def _newest(request: CheckpointRequest) -> Checkpoint:
    checkpoint = read_newest(request.run_uri, on_corrupt=lambda _: None)
    assert checkpoint is not None, f"no checkpoint in {request.run_uri}"
    return checkpoint


def _measured(name: str, run: Callable[[], object]) -> Reading:
    """Measures the duration ``NAME_s`` and the peak of additional memory ``NAME_mb`` of a call."""
    reading: Reading = {}

    def timed() -> None:
        begun = time.perf_counter()
        run()
        reading[f"{name}_s"] = time.perf_counter() - begun

    return {f"{name}_mb": extra_memory_mb(timed, device="cpu"), **reading}


if __name__ == "__main__":
    print(json.dumps(read(CheckpointRequest(**json.loads(sys.argv[1])))))

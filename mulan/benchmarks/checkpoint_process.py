"""One measurement of saving or restoring in separate processes.

``python -m mulan.benchmarks.checkpoint_process JSON`` prints the measurements of every worker as JSON.
"""

import json
import sys
import time
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
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import newest_checkpoint
from mulan.runs.checkpoint_writer import CheckpointWriter
from mulan.tasks.task import task_of
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.state import Progress, SavedState, load_weights
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
    """Measures ``pause_s``, for which training pauses, and ``write_s`` in the background, until all parts are written.

    ``save_mb`` is the peak of additional memory in both, ``own_mb`` what the worker writes, and ``size_mb`` what all
    workers write.
    """
    keep_freed_memory()
    recipe, (rank, _) = recipe_from_toml(request.recipe_toml, name="benchmark"), rank_and_world_size()
    engine = _engine(recipe, model_to_measure(recipe), device)
    indices = range(rank * engine.micro_batches_per_worker, (rank + 1) * engine.micro_batches_per_worker)
    batches = [synthetic_batch(recipe, step=0, micro_batch=index, tokens=TOKENS) for index in indices]
    statistics = RunningStatistics(engine.module)
    train_step(engine, batches, statistics, task_of(recipe), recipe.train)
    reading: Reading = {"own_mb": sum(one.values.nbytes for one in engine.own_state()) / 1e6}
    with CheckpointWriter(request.run_uri, keep_latest=1, keep_best=0) as writer:

        def save() -> None:
            all_gather_objects(None)
            begun = time.perf_counter()
            writer.save(engine.own_state(), Progress(steps_done=1))
            paused = time.perf_counter()
            writer.wait()
            reading["pause_s"], reading["write_s"] = paused - begun, time.perf_counter() - paused

        reading["save_mb"] = extra_memory_mb(save, device="cpu")
    newest = newest_checkpoint(request.run_uri)
    assert newest is not None
    reading["size_mb"] = sum(about["bytes"] for about in newest.files.values()) / 1e6
    all_gather_objects(rank)  # no process exits before all have finished
    return reading


def _restore(request: CheckpointRequest, device: torch.device) -> Reading:
    """Measures ``read_s`` for verifying, and ``restore_s`` for reading everything into model and engine.

    ``peak_mb`` is the peak memory, and ``held_mb`` the memory afterwards, both in addition to that of the model;
    ``process_mb`` is the memory of the process afterwards. ``differing`` is the number of slices that are not bitwise
    equal to those in the files.
    """
    keep_freed_memory()
    recipe = recipe_from_toml(request.recipe_toml, name="benchmark")
    model = model_to_measure(recipe)
    reading: Reading = {}
    restored: list[tuple[CheckpointedEngine, SavedState]] = []

    def restore() -> None:
        all_gather_objects(None)
        begun = time.perf_counter()
        checkpoint = read_newest(request.run_uri, on_corrupt=lambda _: None)
        assert checkpoint is not None, f"no checkpoint in {request.run_uri}"
        was_read = time.perf_counter()
        load_weights(model, checkpoint.state)
        loaded = time.perf_counter()
        engine = _engine(recipe, model, device)
        built = time.perf_counter()
        progress = checkpoint.progress
        engine.restore_optimizer(checkpoint.state, progress.steps_done, updates=progress.updates)
        reading["read_s"] = was_read - begun
        reading["restore_s"] = (loaded - was_read) + (time.perf_counter() - built)
        restored.append((engine, checkpoint.state))

    before_mb = held_memory_mb()
    reading["peak_mb"] = extra_memory_mb(restore, device="cpu")
    reading["process_mb"] = held_memory_mb()
    reading["held_mb"] = reading["process_mb"] - before_mb
    ((engine, state),) = restored
    reading["differing"] = 0.0
    for one in engine.own_state():
        stored = torch.empty_like(one.values)
        state.read_into(one.name, stored, start=one.start)
        reading["differing"] += not torch.equal(stored, one.values)
    return reading


def _engine(recipe: Recipe, model: TrainedModel, device: torch.device) -> CheckpointedEngine:
    # imported here, since DeepSpeed selects its accelerator on import, from the worker's environment
    from mulan.training.engines.exact import build_engine

    return build_engine(model, recipe, device=device)


if __name__ == "__main__":
    print(json.dumps(read(CheckpointRequest(**json.loads(sys.argv[1])))))

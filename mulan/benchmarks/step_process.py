"""One reading of the step, in processes of its own: ``python -m mulan.benchmarks.step_process JSON`` prints JSON.

Imports neither Ray nor, unless it is the engine to be measured, DeepSpeed.
"""

import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import start_processes

from mulan.benchmarks.bare_loop import BareLoop
from mulan.benchmarks.drawn import drawn_batch, model_to_measure
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.batch import Batch
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.schedule import Item, Phase
from mulan.objectives.collectives import sum_over_workers, world
from mulan.training.batch_norm import RunningStatistics
from mulan.training.compiled import compile_towers
from mulan.training.step import training_step
from mulan.training.torch_engine import TorchEngine

PRELOADED_STEPS = 4
"""Global batches that are made beforehand and used in turn."""
_START_METHOD = "forkserver"
"""Its processes end without Python's teardown. Spawned ones, in which DeepSpeed keeps the process group alive, now and
then abort in theirs: a thread of gloo lets go of its last tensor and asks for an interpreter that is gone."""


@dataclass(frozen=True)
class Job:
    """What to measure."""

    recipe_toml: str
    engine: str
    """``bare``, ``bare_kept``, ``torch`` or ``deepspeed``."""
    steps: int
    warmup_steps: int
    tokens: int
    """See :func:`mulan.benchmarks.drawn.drawn_batch`; for batches that are drawn."""
    corpus: bool
    """Batches of the recipe's corpus rather than drawn ones."""


@dataclass(frozen=True)
class Reading:
    """Of one worker; of all of them where it says so."""

    step_s: float
    """Mean over the steps after the first ones."""
    peak_bytes: int
    """GPU: most memory allocated. CPU: most memory of the process."""
    loss: float
    """After the last step: that something was trained."""


def read(job: Job) -> Reading:
    """Takes the reading with the recipe's number of workers: processes of gloo, or of NCCL with a GPU each."""
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    workers = recipe.scale.most_workers
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    results = get_context(_START_METHOD).SimpleQueue()
    start_processes(  # type: ignore[no-untyped-call]
        _worker, (workers, port, job, results), nprocs=workers, start_method=_START_METHOD
    )
    return Reading(**results.get())


def _worker(rank: int, workers: int, port: int, job: Job, results: Any) -> None:
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TOKENIZERS_PARALLELISM": "false"}
    if not recipe.scale.use_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    torch.set_num_threads(recipe.scale.cpus_per_worker)
    device = torch.device("cuda", rank) if recipe.scale.use_gpu else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=workers)
    try:
        reading = _measure(recipe, job, device)
        if rank == 0:
            results.put(asdict(reading))
    finally:
        dist.destroy_process_group()


def _measure(recipe: Recipe, job: Job, device: torch.device) -> Reading:
    if job.engine != "bare":
        keep_freed_memory()  # as all our training workers do
    batches = _preloaded(recipe, job)
    step = _step(recipe, job, device)
    loss = 0.0
    for number in range(job.warmup_steps):
        loss = step(batches[number % len(batches)])
    _wait(device)
    begun = time.perf_counter()
    for number in range(job.steps):
        loss = step(batches[number % len(batches)])
    _wait(device)
    seconds = time.perf_counter() - begun
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _process_peak_bytes()
    return Reading(seconds / job.steps, peak, loss)


def _step(recipe: Recipe, job: Job, device: torch.device) -> Callable[[list[Batch]], float]:
    """Does one optimizer step on this worker's micro-batches and returns the loss."""
    model = model_to_measure(recipe)
    if recipe.train.compile:
        compile_towers(model)
    if job.engine in ("bare", "bare_kept"):
        return BareLoop(model, recipe, device)
    if job.engine == "torch":
        engine: Any = TorchEngine(model, recipe, device=device)
    else:  # DeepSpeed may not be installed, and chooses its accelerator when imported
        from mulan.training.deepspeed_engine import DeepSpeedEngine

        engine = DeepSpeedEngine(model, recipe, device=device)
    statistics = RunningStatistics(engine.module)

    def step(batches: list[Batch]) -> float:
        return training_step(engine, batches, statistics, recipe)["loss"]

    return step


def _preloaded(recipe: Recipe, job: Job) -> list[list[Batch]]:
    rank, workers = world()
    share = recipe.batch.micro_batches // workers
    places = [(step, rank * share + number) for step in range(PRELOADED_STEPS) for number in range(share)]
    if job.corpus:  # its decoders may not be installed where batches are drawn
        from mulan.data.examples import MicroBatchReader

        reader = MicroBatchReader.of(recipe)
        found = [Batch.from_columns(reader(Item(Phase.TRAIN, *place)).to_columns()) for place in places]
    else:
        found = [drawn_batch(recipe, step=step, micro_batch=number, tokens=job.tokens) for step, number in places]
    return [found[start : start + share] for start in range(0, len(found), share)]


def _wait(device: torch.device) -> None:
    """Until all workers have done what they were given."""
    sum_over_workers(torch.zeros(1, device=device))
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _process_peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(asdict(read(Job(**json.loads(sys.argv[1]))))))

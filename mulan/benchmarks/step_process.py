"""One measurement of the step in separate processes: ``python -m mulan.benchmarks.step_process JSON`` prints JSON.

Ray and DeepSpeed are imported only if they are measured.
"""

import json
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from mulan.benchmarks.baselines import BareLoop
from mulan.benchmarks.process_cpu import TRAINING, CpuSeconds, cpu_seconds, spent
from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.benchmarks.worker_group import read_in_workers
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.batch import Batch
from mulan.data.freed_memory import keep_freed_memory
from mulan.data.schedule import Item, Phase
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import all_reduce_sum, rank_and_world_size
from mulan.model.deterministic import deterministic_kernels
from mulan.runs.run import Run
from mulan.tasks.task import task_of
from mulan.training.engines.torch import TorchEngine
from mulan.training.step import train_step

_POLL_S = 0.02
PRELOADED_STEPS = 4
"""Number of global batches that are prepared in advance and used in turn."""


@dataclass(frozen=True)
class StepJob:
    """The parameters of a measurement."""

    recipe_toml: str
    """Recipe with the number of workers, model and batch size."""
    engine: str
    """Engine: ``bare``, ``bare_kept``, ``torch``, ``deepspeed`` or ``ray``."""
    steps: int
    """Number of timed steps."""
    warmup_steps: int
    """Number of steps before the timing."""
    tokens: int
    """Text length of synthetic batches; see :func:`mulan.benchmarks.synthetic.synthetic_batch`."""
    corpus: bool
    """True to use batches of the recipe's corpus instead of synthetic ones."""


@dataclass(frozen=True)
class StepReading:
    """The result of a measurement on one worker."""

    step_s: float
    """Mean duration of a step after the warm-up, in seconds."""
    peak_bytes: int
    """Peak of allocated memory on GPUs, of the process's memory on CPUs; 0 for Ray, where it is not measured."""
    loss: float
    """Loss of the last step."""
    tokens: float = 0.0
    """Mean length of this worker's texts; 0 for Ray, where it is not measured."""
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    """CPU time of a step in seconds by the kind of process (:mod:`mulan.benchmarks.process_cpu`)."""


def read(job: StepJob) -> StepReading:
    """Runs the measurement with the recipe's number of workers."""
    if job.engine == "ray":
        return _read_on_ray(job)
    scale = recipe_from_toml(job.recipe_toml, name="benchmark").scale
    readings = read_in_workers(_measure, scale, job)
    cpu_s = sum(reading.pop("cpu_s") for reading in readings)
    first: dict[str, Any] = readings[0]
    return StepReading(**first, cpu_s={TRAINING: cpu_s})


def _measure(job: StepJob, device: torch.device) -> dict[str, float]:
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    if job.engine != "bare":
        keep_freed_memory()  # as training workers do
    batches = preloaded(recipe, job)
    step = step_on(recipe, job, device)
    loss = 0.0
    with deterministic_kernels(recipe.train.deterministic and not job.engine.startswith("bare")):
        for number in range(job.warmup_steps):
            loss = step(batches[number % len(batches)])
        synchronize(device)
        begun, cpu_begun = time.perf_counter(), time.process_time()
        for number in range(job.steps):
            loss = step(batches[number % len(batches)])
        synchronize(device)
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_begun
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _process_peak_bytes()
    reading = StepReading(seconds / job.steps, peak, loss, _mean_tokens(batches))
    return asdict(reading) | {"cpu_s": cpu_s / job.steps}


def step_on(recipe: Recipe, job: StepJob, device: torch.device) -> Callable[[list[Batch]], float]:
    """Returns a function that runs one optimizer step on this worker's micro-batches and returns the loss."""
    model = model_to_measure(recipe)
    if recipe.train.compile:
        model.compile_towers()
    if job.engine in ("bare", "bare_kept"):
        return BareLoop(model, recipe, device)
    if job.engine == "torch":
        engine: Any = TorchEngine.from_recipe(model, recipe, device=device)
    else:  # DeepSpeed may not be installed, and selects its accelerator on import
        from mulan.training.engines.exact import build_engine

        engine = build_engine(model, recipe, device=device)
    statistics, task = RunningStatistics(engine.module), task_of(recipe)

    def step(batches: list[Batch]) -> float:
        return train_step(engine, batches, statistics, task, recipe.train)["loss"]

    return step


def preloaded(recipe: Recipe, job: StepJob) -> list[list[Batch]]:
    """Returns this worker's micro-batches of a few steps."""
    rank, workers = rank_and_world_size()
    share = recipe.batch.micro_batches // workers
    indices = [(step, rank * share + number) for step in range(PRELOADED_STEPS) for number in range(share)]
    if job.corpus:  # decoders may not be installed if batches are synthetic
        from mulan.data.reader import MicroBatchReader

        reader = MicroBatchReader.from_recipe(recipe)
        batches = [reader(Item(Phase.TRAIN, *index)) for index in indices]
    else:
        batches = [
            synthetic_batch(recipe, step=step, micro_batch=number, tokens=job.tokens) for step, number in indices
        ]
    return [batches[start : start + share] for start in range(0, len(batches), share)]


def _mean_tokens(steps: list[list[Batch]]) -> float:
    return statistics.mean(float(batch.attention_mask.sum(axis=1).mean()) for step in steps for batch in step)


def synchronize(device: torch.device) -> None:
    """Waits until all workers have finished their queued work."""
    all_reduce_sum(torch.zeros(1, device=device))
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _read_on_ray(job: StepJob) -> StepReading:
    """Takes the measurement from the metrics of a run as ``jobs.train`` starts it."""
    from mulan.launch.cluster import connect  # neither Ray nor DeepSpeed may be installed
    from mulan.launch.fit import fit

    recipe, steps = recipe_from_toml(job.recipe_toml, name="benchmark"), job.warmup_steps + job.steps
    length = {"train.steps": steps, "train.checkpoint_every_steps": steps, "train.validation_micro_batches": 0}
    if recipe.optim.decay_until_step:
        length["optim.decay_until_step"] = max(steps, recipe.optim.decay_until_step)
    connect(recipe.scale)
    with tempfile.TemporaryDirectory() as storage:
        run = Run.at(storage, "bench")
        with ThreadPoolExecutor(1) as thread:
            ended = threading.Event()
            watch = thread.submit(_watch_cpu, run, job, ended)
            try:
                fit(recipe.replace(length), run)
            finally:
                ended.set()
            cpu_s = watch.result()
        lines = run.metrics()
    mean_s = statistics.mean(line["step_s"] for line in lines[job.warmup_steps :])
    return StepReading(mean_s, 0, lines[-1]["loss"], cpu_s=cpu_s)


def _watch_cpu(run: Run, job: StepJob, ended: threading.Event) -> dict[str, float]:
    """Returns the CPU time of a step by the kind of process, from the steps between two readings of the metrics."""
    readings: list[tuple[int, CpuSeconds]] = []
    for wanted in (job.warmup_steps, job.warmup_steps + job.steps - 1):
        while (steps := len(run.metrics())) < wanted and not ended.wait(_POLL_S):
            pass
        readings.append((steps, cpu_seconds()))
    (first, before), (last, after) = readings
    return {kind: seconds / max(1, last - first) for kind, seconds in spent(before, after).items()}


def _process_peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(asdict(read(StepJob(**json.loads(sys.argv[1]))))))

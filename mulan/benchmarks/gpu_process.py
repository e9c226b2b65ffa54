"""One measurement on a GPU: ``python -m mulan.benchmarks.gpu_process JSON`` prints a line of JSON for each figure.

Figures are printed as soon as they are there, so that those of a process which fails or is ended are kept. On a CPU the
same code runs, without what only GPUs have. Neither Ray nor DeepSpeed nor a decoder is imported.
"""

import json
import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch.profiler import record_function

from mulan.benchmarks.gpu_readings import Emit, GpuReading, GpuRequest, MeasurementClock, print_reading
from mulan.benchmarks.gpu_trace import OWN, TraceFigures, read_figures
from mulan.benchmarks.loss import FORMS, READINGS, LossRequest
from mulan.benchmarks.measure import BenchmarkFailed, interleaved
from mulan.benchmarks.memory import calculated_bytes
from mulan.benchmarks.step_process import synchronize
from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.data.batch import Batch
from mulan.distributed.batch_norm import RunningStatistics
from mulan.instrumentation.profiler import StepProfiler
from mulan.instrumentation.settings import StepRange
from mulan.model.audio_encoder import TrainedModel
from mulan.model.deterministic import deterministic_kernels
from mulan.storage import filesystem
from mulan.tasks.task import task_of
from mulan.telemetry.flops import count_flops
from mulan.training.engines.torch import TorchEngine
from mulan.training.step import queue_gradients, train_step

FEW = 8
"""Number of micro-batches of the short steps that warm up or compare two settings."""
WARM_UPS = 2
TRACED = 4
"""Number of micro-batches of the traced step: each has tens of thousands of events."""
_PRODUCTS_AT_ONCE = 20
_SYNCHRONIZES = "synchronizing CUDA operation"
"""Part of the warning of ``torch.cuda.set_sync_debug_mode``."""


def take(request: GpuRequest, emit: Emit) -> None:
    """Takes a measurement, and calls ``emit`` with each figure; with several measurements, again after each."""
    SUBJECTS[request.subject](request, emit)


def _products(request: GpuRequest, emit: Emit) -> None:
    """Measures the rate of square matrix products, to which that of steps is related."""
    device, clock = torch.device(request.device), MeasurementClock(request)
    for dtype, size in zip((torch.bfloat16, torch.float64), request.sizes, strict=True):
        one, other = (torch.randn(size, size, device=device, dtype=torch.float32).to(dtype) for _ in range(2))

        def multiply(one: torch.Tensor = one, other: torch.Tensor = other) -> None:
            for _ in range(_PRODUCTS_AT_ONCE):
                torch.mm(one, other)

        multiply()
        operations = 2 * size**3 * _PRODUCTS_AT_ONCE / 1e12
        name = f"{request.label}, {str(dtype).removeprefix('torch.')}"
        for taken in clock.repeated(partial(_seconds_of, multiply, device)):
            emit(GpuReading(name, tuple(operations / one for one in taken), "TFLOP/s", f"of {size:,} rows"))


def _loss(request: GpuRequest, emit: Emit) -> None:
    """Measures time and memory of each form of the loss; what does not fit or is not installed is noted.

    Once the time is up, so is what was not measured; the first figure always is.
    """
    clock = MeasurementClock(request)
    for place, (asked, name, unit) in enumerate(_loss_requests(request)):
        if place and clock.is_up():
            emit(GpuReading(name, (), unit, "not measured: the time was up"))
        else:
            _emit_loss(asked, name, unit, emit)


def _loss_requests(request: GpuRequest) -> Iterator[tuple[LossRequest, str, str]]:
    """Yields the measurements of the loss, with the names and units of their figures."""
    for pairs in request.sizes:
        for form in FORMS:
            # the time first: of it, the report derives the share of the step
            for kind, unit, rounds in (("seconds", "s", request.rounds), ("memory", "MB", 1)):
                name = f"{request.label} of {pairs:,} pairs, {form}: {kind}"
                yield LossRequest(kind, (form,), pairs, request.device, rounds=rounds), name, unit
        name = f"{request.label} of {pairs:,} pairs: gradients, tiled to untiled"
        yield LossRequest("difference", ("tiled",), pairs, request.device), name, ""


def _emit_loss(request: LossRequest, name: str, unit: str, emit: Emit) -> None:
    (form,) = request.forms
    try:
        values = READINGS[request.reading](request)[form]
        emit(GpuReading(name, tuple(values[: request.rounds]), unit))  # the memory is followed by the time
    except (ImportError, torch.OutOfMemoryError) as error:
        emit(GpuReading(name, (), unit, f"not measured: {str(error).splitlines()[0]}"))


class _Trainer:
    """A model on its engine, and the synthetic micro-batches of a step."""

    def __init__(self, model: TrainedModel, recipe: Recipe, *, device: str, micro_batches: int) -> None:
        """Compiles the model if the recipe says so, and moves it to the device."""
        self.model, self.recipe, self.device = model, recipe, torch.device(device)
        if recipe.train.compile:
            model.compile_towers()
        self.batches = [synthetic_batch(recipe, step=0, micro_batch=n, tokens=0) for n in range(micro_batches)]
        self._task = task_of(recipe)
        self.engine = TorchEngine.from_recipe(model, recipe, device=self.device)
        self._statistics = RunningStatistics(self.engine.module)

    def step(self, batches: Iterable[Batch], engine: TorchEngine | None = None) -> float:
        """Trains a step and returns its duration in seconds."""
        with deterministic_kernels(self.recipe.train.deterministic):
            return _seconds_of(lambda: self._train(list(batches), engine or self.engine), self.device)

    def _train(self, batches: list[Batch], engine: TorchEngine) -> None:
        with record_function(OWN):
            loss = train_step(engine, batches, self._statistics, self._task, self.recipe.train)["loss"]
        if not math.isfinite(loss):
            raise BenchmarkFailed(f"the loss is {loss}")

    def waits(self, batches: list[Batch]) -> list[str]:
        """Trains a step on a GPU, and returns where the host waited before all of its gradients were queued."""
        with deterministic_kernels(self.recipe.train.deterministic), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                queue_gradients(self.engine, batches, self._statistics, self._task, self.recipe.train)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            self.engine.step()
            self._statistics.end_step()
        found = [one for one in caught if _SYNCHRONIZES in str(one.message)]
        return [f"{Path(one.filename).name}:{one.lineno}" for one in found]


def _step(request: GpuRequest, emit: Emit) -> None:
    """Measures whole steps, then the memory, the trace and the host's waits of short ones."""
    clock, label = MeasurementClock(request), request.label
    recipe = recipe_from_toml(request.recipe_toml, name="benchmark")
    model = model_to_measure(recipe, bert_width=request.bert_width)
    count = count_flops(model, recipe)  # before the model is compiled
    trainer = _Trainer(model, recipe, device=request.device, micro_batches=recipe.batch.micro_batches)
    few, flops = trainer.batches[:FEW], sum(map(count, trainer.batches))
    for _ in range(WARM_UPS):
        trainer.step(few)
    if recipe.train.compile:  # texts of further lengths are compiled for once more
        trainer.step(trainer.batches)
    emit(GpuReading(f"{label}: preparation and warm-up", (clock.seconds(),), "s"))
    for taken in clock.repeated(partial(trainer.step, trainer.batches)):
        emit(GpuReading(f"{label}: step", taken, "s", f"of {recipe.batch.pairs:,} pairs"))
        emit(GpuReading(f"{label}: pairs/s", tuple(recipe.batch.pairs / seconds for seconds in taken)))
        emit(GpuReading(f"{label}: model FLOPs", tuple(flops / 1e12 / one for one in taken), "TFLOP/s"))
    if trainer.device.type == "cuda":
        emit(GpuReading(f"{label}: peak memory", (torch.cuda.max_memory_allocated() / 1e9,), "GB"))
        found = trainer.waits(few)
        remark = ", ".join(dict.fromkeys(found))
        emit(GpuReading(f"{label}: host waits before all gradients are queued", (len(found),), "", remark))
    _emit_trace(_traced(trainer, trainer.batches[:TRACED], request), label, emit)


def _traced(trainer: _Trainer, batches: list[Batch], request: GpuRequest) -> TraceFigures:
    """Returns the figures of a short step, and keeps its trace."""
    folder = filesystem.join(request.folder, request.label.replace(", ", "_").replace(" ", "_"))
    lines: list[str] = []
    profiler = StepProfiler(StepRange(1, 1), folder, trainer.device, report=lambda line, _: lines.append(line))
    profiler.begin_step(1)
    trainer.step(batches)
    profiler.end_step(1)
    profiler.close()
    file = filesystem.join(folder, "rank_0.json.gz")
    if not filesystem.exists(file):
        raise BenchmarkFailed(f"there is no trace: {'; '.join(lines)}")
    return read_figures(file)


def _emit_trace(trace: TraceFigures, label: str, emit: Emit) -> None:
    chosen = ", ".join(f"{name} ({count})" for name, count in trace.operators.items())
    calls = sum(trace.operators.values()) / trace.steps
    emit(GpuReading(f"{label}: calls of attention in a short step", (calls,), "", chosen))
    if not trace.kernels_s:  # a CPU has no kernels
        return
    kernels = ", ".join(f"{name} ({1e3 * one / trace.steps:.1f} ms)" for name, one in trace.attention_s.items())
    attention = sum(trace.attention_s.values()) / trace.kernels_s
    emit(GpuReading(f"{label}: attention, of the time of kernels", (attention,), "", kernels))
    busy = trace.kernels_s / trace.step_s
    emit(GpuReading(f"{label}: kernels, of a short step", (busy,), "", "with the profiler, which delays the host"))
    if trace.copies_s:
        remark = f"{1e3 * trace.copies_s / trace.steps:.1f} ms a step; the first of {TRACED} has no kernels beside it"
        share = trace.overlapped_s / trace.copies_s
        emit(GpuReading(f"{label}: copies from the host beside kernels", (share,), "", remark))
    waits = ", ".join(f"{name} ({count})" for name, count in trace.waits.items())
    emit(
        GpuReading(
            f"{label}: host waits in a short step, with those at its end",
            (sum(trace.waits.values()) / trace.steps,),
            "",
            waits,
        )
    )


def _groups(request: GpuRequest, emit: Emit) -> None:
    """Compares short steps with the recipe's groups of texts of similar length, and with one group, in turn."""
    recipe, clock = recipe_from_toml(request.recipe_toml, name="benchmark"), MeasurementClock(request)
    model, few = model_to_measure(recipe, bert_width=request.bert_width), min(FEW, recipe.batch.micro_batches)
    trainer = _Trainer(model, recipe, device=request.device, micro_batches=few)
    engines = {recipe.text_tower.length_groups: trainer.engine}
    one_group = recipe.replace({"text_tower.length_groups": 1})
    engines[1] = TorchEngine.from_recipe(trainer.model, one_group, device=trainer.device)
    for engine in engines.values():
        trainer.step(trainer.batches, engine)
    pairs = len(trainer.batches) * recipe.batch.pairs_per_micro_batch
    taken: dict[str, list[float]] = defaultdict(list)

    def emit_all(count: str, _: int, seconds: float) -> None:
        taken[count].append(seconds)
        name = f"{request.label}: step of {pairs:,} pairs, length_groups = {count}"
        emit(GpuReading(name, tuple(taken[count]), "s"))

    interleaved(
        {str(count): partial(trainer.step, trainer.batches, engine) for count, engine in engines.items()},
        rounds=request.rounds,
        unit="s",
        on_reading=emit_all,
        another_round=lambda: not clock.is_up(),
    )


def _memory(request: GpuRequest, emit: Emit) -> None:
    """Calculates the memory that the docstring of a recipe states, without a GPU."""
    recipe = recipe_from_toml(request.recipe_toml, name="benchmark")
    emit(
        GpuReading(
            f"{request.label}: calculated memory", (calculated_bytes(recipe) / 1e9,), "GB", "as in its docstring"
        )
    )


def _seconds_of(run: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    begun = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - begun


SUBJECTS: dict[str, Callable[[GpuRequest, Emit], None]] = {
    "products": _products,
    "loss": _loss,
    "step": _step,
    "groups": _groups,
    "memory": _memory,
}


if __name__ == "__main__":
    take(GpuRequest(**json.loads(sys.argv[1])), print_reading)

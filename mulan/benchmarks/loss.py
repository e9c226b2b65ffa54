"""Benchmark of the tiled loss against the untiled form and open_clip's loss: time, memory and gradients.

Every measurement runs in fresh processes, ``python -m mulan.benchmarks.loss REQUEST``, which import neither Ray nor
DeepSpeed, so that the allocator and threads of one measurement do not affect the next. On CPUs their memory is limited
to what the machine has free: a form that needs more ends with an error, and the report says so.
"""

import importlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist

from mulan.benchmarks.baselines import untiled_loss
from mulan.benchmarks.measure import BenchmarkFailed, Figure, in_fresh_process, interleaved, ratios
from mulan.benchmarks.memory import extra_memory_mb, free_memory_mb, limit_memory
from mulan.benchmarks.results import Goal, Report, Row
from mulan.distributed.collectives import all_reduce_sum, rank_and_world_size
from mulan.objectives.contrastive import contrastive_loss

DIM = 128
"""Embedding dimension of the MuLan paper."""

TEMPERATURE = 0.1

SMALL = 256
"""Number of pairs of a warm-up run, in which libraries are loaded and threads start."""

WHOLE_MATRICES = {"untiled": 8, "open_clip": 4}
"""Peak number of matrices of B by B / W numbers, as measured at 6,144 and 12,288 pairs."""

SPARE_MB = 2000.0
"""Free memory that a measurement leaves to other processes of the machine."""

PROCESSES = (1, 2, 4)
"""Numbers of processes that are measured on CPUs."""

REMARKS = {"open_clip": "a different loss: two logarithms, each with the positive in its denominator"}

TIMEOUT_S = 3600.0


class OutOfMemory(BenchmarkFailed):
    """A process needed more memory than it may allocate."""


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Rows(NamedTuple):
    """The arguments of a loss: two times [b, DIM] unit rows, and a scalar."""

    audio: torch.Tensor
    text: torch.Tensor
    temperature: torch.Tensor


@dataclass(frozen=True)
class LossRequest:
    """The parameters of a measurement."""

    reading: str
    """Key of :data:`READINGS`."""
    forms: tuple[str, ...]
    """Keys of :data:`FORMS`."""
    pairs: int
    """Number of pairs in the global batch."""
    device: str
    """Device, ``cpu`` or ``cuda``."""
    workers: int = 1
    """Number of processes."""
    rounds: int = 1
    """Number of measurements."""
    limit_mb: float = math.inf
    """Memory that each process may allocate on the host."""


def bench_loss(
    *, pairs: int, memory_pairs: int, rounds: int, device: str | None, progress: Callable[[str], None]
) -> Report:
    """Measures forward and backward of every form, in one process and, on CPUs, in several with gloo.

    Args:
        pairs: Number of pairs B for time, memory and gradients, a multiple of 4.
        memory_pairs: Larger number of pairs B for memory and time, a multiple of 4; forms that do not fit into the free
            memory are not run.
        rounds: Number of measurements of each form.
        device: ``cpu`` or ``cuda``; None uses CUDA if available.
        progress: Called with a line of text after each measurement.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    forms = ("tiled", "untiled", *(["open_clip"] if _has_open_clip() else []))
    rows: list[Row] = []
    for workers in PROCESSES if device == "cpu" else (1,):
        progress(f"processes: {workers}; {pairs:,} pairs; {rounds} rounds of {', '.join(forms)}")
        request = LossRequest("seconds", forms, pairs, device, workers, rounds)
        rows += _rows(request, memory_pairs, progress)
    if "open_clip" not in forms:
        rows.append(Row("open_clip", {}, "not installed: pip install -e '.[peers]'"))
    return Report(
        title="Contrastive loss",
        settings={"dimensions": DIM, "temperature": TEMPERATURE, "rounds": rounds, "device": device},
        rows=rows,
        goals=_goals(rows, pairs, memory_pairs),
        notes=[
            "Time is that of forward and backward. Memory is the peak of a process in addition to its inputs, "
            "including gradients.",
            "Each of several processes has its part of the rows and of the threads, at least one thread; values are "
            f"maxima over processes. There are {len(os.sched_getaffinity(0))} cores: more processes take turns.",
        ],
    )


def _rows(request: LossRequest, memory_pairs: int, progress: Callable[[str], None]) -> list[Row]:
    """Returns a row for each form at one number of processes."""
    seconds = {form: Figure(values, "s") for form, values in in_processes(request).items()}
    differences = in_processes(replace(request, reading="difference", forms=("tiled",), rounds=1))
    figures: dict[str, dict[str, Figure]] = {form: {"time": taken} for form, taken in seconds.items()}
    remarks = {form: [REMARKS[form]] if form in REMARKS else [] for form in request.forms}
    for form, taken in seconds.items():
        progress(f"{form}: {taken.median:.3g} s")
        if form != "untiled":
            figures[form]["time to untiled"] = ratios(taken, seconds["untiled"])
        if form in differences:
            figures[form]["gradients to untiled"] = Figure(differences[form], "")
    if "open_clip" in seconds:
        figures["tiled"]["time to open_clip"] = ratios(seconds["tiled"], seconds["open_clip"])
    for count in dict.fromkeys((request.pairs, memory_pairs)):
        rounds = request.rounds if count == memory_pairs else 1
        large = replace(request, reading="memory", pairs=count, rounds=rounds)
        for form, (fitting, remark) in _in_turn(large, progress).items():
            remarks[form] += [remark] if remark else []
            if fitting:
                figures[form][_memory_of(count)] = Figure(tuple(mb for mb, _ in fitting), "MB")
                if count != request.pairs:
                    figures[form][f"time, {count:,} pairs"] = Figure(tuple(s for _, s in fitting), "s")
    suffix = "" if request.workers == 1 else f", {request.workers} processes"
    return [Row(form + suffix, figures[form], "; ".join(remarks[form])) for form in request.forms]


def _in_turn(request: LossRequest, progress: Callable[[str], None]) -> dict[str, tuple[list[tuple[float, float]], str]]:
    """Measures memory and time of each form in turn, in fresh processes in every round.

    Returns:
        The MB and seconds of each round, and why there are none if the form does not fit, by form.
    """
    found: dict[str, list[tuple[float, float]]] = {form: [] for form in request.forms}
    remarks = dict.fromkeys(request.forms, "")
    for number in range(request.rounds):
        for form in request.forms[number % len(request.forms) :] + request.forms[: number % len(request.forms)]:
            if remarks[form]:
                continue
            try:
                needed_mb = WHOLE_MATRICES.get(form, 0) * 4e-6 * request.pairs**2  # of all processes together
                usable_mb = free_memory_mb(device=request.device) - SPARE_MB
                if needed_mb > usable_mb:
                    raise OutOfMemory(f"would need {needed_mb / 1e3:.1f} GB, of which {usable_mb / 1e3:.1f} are free")
                (mb, seconds) = in_processes(replace(request, forms=(form,), rounds=1))[form]
                found[form].append((mb, seconds))
                progress(f"{form}: {mb:.3g} MB and {seconds:.3g} s for {request.pairs:,} pairs, round {number + 1}")
            except OutOfMemory as error:
                remarks[form] = f"{request.pairs:,} pairs in round {number + 1}: {error}"
                progress(f"{form}: {remarks[form]}")
    return {form: (found[form], remarks[form]) for form in request.forms}


def _memory_of(pairs: int) -> str:
    """Returns the name of the column with the memory for this number of pairs."""
    return f"memory, {pairs:,} pairs"


def _goals(rows: list[Row], pairs: int, memory_pairs: int) -> list[Goal]:
    """Returns the goals, which are meant for 6,144 and 32,768 pairs."""
    tiled = [row for row in rows if row.name.startswith("tiled")]
    median = {column: figure.median for column, figure in tiled[0].figures.items()}
    most = max(row.figures[_memory_of(memory_pairs)].high for row in tiled)
    return [
        Goal(f"{_memory_of(memory_pairs)}, MB of any process", most, 64, at_most=True),
        Goal(f"time to untiled, {pairs:,} pairs", median["time to untiled"], 1.3, at_most=True),
        Goal("gradients to untiled, norm of the difference", median["gradients to untiled"], 1e-6, at_most=True),
    ]


def in_processes(request: LossRequest) -> dict[str, tuple[float, ...]]:
    """Returns the measurements of each form, as maxima over processes.

    Raises:
        OutOfMemory: A process needed more than its part of the free memory.
        BenchmarkFailed: A process failed for another reason.
    """
    usable_mb = (free_memory_mb(device="cpu") - SPARE_MB) / request.workers
    argument = json.dumps(asdict(replace(request, limit_mb=max(usable_mb, 0.0))))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(request.workers) as pool:
        arguments = [[argument, str(rank), f"{folder}/store"] for rank in range(request.workers)]
        started = [pool.submit(in_fresh_process, __name__, each, timeout_s=TIMEOUT_S) for each in arguments]
        errors = [str(error) for one in started if (error := one.exception())]
    if any("can't allocate memory" in error or "out of memory" in error for error in errors):
        raise OutOfMemory(f"a process needed more than the {usable_mb / 1e3:.1f} GB that it may allocate")
    readings = [json.loads(one.result().splitlines()[-1]) for one in started]
    return {form: tuple(map(max, zip(*(one[form] for one in readings), strict=True))) for form in request.forms}


def _process(request: LossRequest, rank: int, store: str) -> dict[str, list[float]]:
    """Runs a measurement in one of the processes."""
    if math.isfinite(request.limit_mb) and request.device == "cpu":
        limit_memory(request.limit_mb)
    if request.workers > 1:
        # as torchrun does: with all threads in each process they would mostly wait for each other
        torch.set_num_threads(max(1, torch.get_num_threads() // request.workers))
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=request.workers)
    try:
        return READINGS[request.reading](request)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _seconds(request: LossRequest) -> dict[str, list[float]]:
    """Measures the time of forward and backward, with the forms in turn, after one warm-up run each."""
    rows = unit_rows(request.pairs, request.device)
    candidates = {
        form: partial(_timed, partial(gradients, FORMS[form](), rows), request.device) for form in request.forms
    }
    for candidate in candidates.values():
        candidate()
    figures = interleaved(candidates, rounds=request.rounds, unit="s", on_reading=lambda *_: None)
    return {form: list(figure.values) for form, figure in figures.items()}


def _memory(request: LossRequest) -> dict[str, list[float]]:
    """Measures the additional memory of forward and backward of a single form, in MB, and the time, in seconds."""
    (form,) = request.forms
    loss = FORMS[form]()
    gradients(loss, unit_rows(SMALL, request.device))
    rows = unit_rows(request.pairs, request.device)
    seconds: list[float] = []
    run = partial(_timed, partial(gradients, loss, rows), request.device)
    memory_mb = extra_memory_mb(lambda: seconds.append(run()), device=request.device)
    return {form: [memory_mb, *seconds]}


def _difference(request: LossRequest) -> dict[str, list[float]]:
    """Measures the largest relative difference of gradients to the untiled form."""
    rows = unit_rows(request.pairs, request.device)
    reference = gradients(untiled_loss, rows)
    return {form: [relative_difference(gradients(FORMS[form](), rows), reference)] for form in request.forms}


def relative_difference(ours: Rows, reference: Rows) -> float:
    """Returns the largest relative difference of gradients, by their norms; the reference's temperature is summed."""
    reference = reference._replace(temperature=all_reduce_sum(reference.temperature))
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(ours, reference, strict=True))


def gradients(loss: Loss, rows: Rows) -> Rows:
    """Returns the gradients of audio, text and temperature."""
    leaves = Rows(*(tensor.detach().requires_grad_() for tensor in rows))
    loss(*leaves).backward()  # type: ignore[no-untyped-call]
    grads = [leaf.grad for leaf in leaves]
    return Rows(*(grad for grad in grads if grad is not None))


def _timed(run: Callable[[], object], device: str) -> float:
    """Returns the duration of ``run`` in seconds, by CUDA events on GPUs; all processes start together."""
    if rank_and_world_size()[1] > 1:
        dist.barrier()
    if device == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    first.record()
    run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3


def unit_rows(pairs: int, device: str) -> Rows:
    """Returns this process's part of a batch whose pairs are similar, as during training."""
    rank, workers = rank_and_world_size()
    generator = torch.Generator().manual_seed(rank)
    noise = torch.randn(2, pairs // workers, DIM, generator=generator)
    audio, text = torch.nn.functional.normalize(noise + noise[:1], dim=-1).to(device).unbind()
    return Rows(audio, text, torch.tensor(TEMPERATURE, device=device))


def _has_open_clip() -> bool:
    try:
        importlib.import_module("open_clip.loss")
    except ImportError:
        return False
    return True


def _open_clip() -> Loss:
    """Returns open_clip's distributed loss, with local rows and columns and gradients through the all-gather."""
    rank, workers = rank_and_world_size()
    loss = importlib.import_module("open_clip.loss").ClipLoss(
        local_loss=True, gather_with_grad=True, rank=rank, world_size=workers
    )
    return lambda audio, text, temperature: loss(audio, text, 1 / temperature)


FORMS: dict[str, Callable[[], Loss]] = {
    "tiled": lambda: contrastive_loss,
    "untiled": lambda: untiled_loss,
    "open_clip": _open_clip,
}

READINGS: dict[str, Callable[[LossRequest], dict[str, list[float]]]] = {
    "seconds": _seconds,
    "memory": _memory,
    "difference": _difference,
}


if __name__ == "__main__":
    print(json.dumps(_process(LossRequest(**json.loads(sys.argv[1])), int(sys.argv[2]), sys.argv[3])))

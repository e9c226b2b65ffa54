"""Benchmark of the tiled loss against the untiled form and open_clip's loss: time, memory and gradients.

Every measurement runs in fresh processes, ``python -m mulan.benchmarks.loss REQUEST``, which import neither Ray nor
DeepSpeed, so that the allocator and threads of one measurement do not affect the next.
"""

import importlib
import json
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
from mulan.benchmarks.measure import Figure, in_fresh_process, interleaved, ratios
from mulan.benchmarks.memory import extra_memory_mb, free_memory_mb
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

REMARKS = {"open_clip": "a different loss: two logarithms, each with the positive in its denominator"}

TIMEOUT_S = 3600.0

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


def bench_loss(
    *, pairs: int, memory_pairs: int, rounds: int, device: str | None, progress: Callable[[str], None]
) -> Report:
    """Measures forward and backward of every form, in one process and, on CPUs, in two with gloo.

    Args:
        pairs: Number of pairs B for time and gradients, even.
        memory_pairs: Number of pairs B of a second memory measurement, even; forms that would not fit are not run.
        rounds: Number of time measurements.
        device: ``cpu`` or ``cuda``; None uses CUDA if available.
        progress: Called with a line of text after each measurement.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    forms = ("tiled", "untiled", *(["open_clip"] if _has_open_clip() else []))
    rows: list[Row] = []
    for workers in (1, 2) if device == "cpu" else (1,):
        progress(f"processes: {workers}; {pairs:,} pairs; {rounds} rounds of {', '.join(forms)}")
        request = LossRequest("seconds", forms, pairs, device, workers, rounds)
        rows += _rows(request, memory_pairs, progress)
    if "open_clip" not in forms:
        rows.append(Row("open_clip", {}, "not installed: pip install -e '.[peers]'"))
    return Report(
        title="Contrastive loss",
        settings={"dimensions": DIM, "temperature": TEMPERATURE, "rounds": rounds, "device": device},
        rows=rows,
        goals=_goals(rows[0], pairs, memory_pairs),
        notes=[
            "Time is that of forward and backward. Memory is the peak of a process in addition to its inputs, "
            "including gradients.",
            "Each of two processes has half of the rows and of the threads; values are maxima over processes.",
        ],
    )


def _rows(request: LossRequest, memory_pairs: int, progress: Callable[[str], None]) -> list[Row]:
    """Returns a row for each form at one number of processes."""
    seconds = {form: Figure(values, "s") for form, values in in_processes(request).items()}
    differences = in_processes(replace(request, reading="difference", forms=("tiled",)))
    rows = []
    for form, taken in seconds.items():
        name = form if request.workers == 1 else f"{form}, {request.workers} processes"
        progress(f"{name}: {taken.median:.3g} s")
        figures, remarks = {"time": taken}, [REMARKS[form]] if form in REMARKS else []
        if form != "untiled":
            figures["time to untiled"] = ratios(taken, seconds["untiled"])
        if form in differences:
            figures["gradients to untiled"] = Figure(differences[form], "")
        for count in dict.fromkeys((request.pairs, memory_pairs)):
            needed_mb = WHOLE_MATRICES.get(form, 0) * 4e-6 * count**2  # of all processes together
            if needed_mb > free_memory_mb(device=request.device):
                remarks.append(f"{count:,} pairs would need {needed_mb / 1e3:.0f} GB")
                continue
            measured = replace(request, reading="memory", forms=(form,), pairs=count)
            figures[_memory_of(count)] = Figure(in_processes(measured)[form], "MB")
            progress(f"{name}: {figures[_memory_of(count)].median:.3g} MB for {count:,} pairs")
        rows.append(Row(name, figures, "; ".join(remarks)))
    return rows


def _memory_of(pairs: int) -> str:
    """Returns the name of the column with the memory for this number of pairs."""
    return f"memory, {pairs:,} pairs"


def _goals(tiled: Row, pairs: int, memory_pairs: int) -> list[Goal]:
    """Returns the goals, which are meant for 6,144 and 32,768 pairs."""
    median = {column: figure.median for column, figure in tiled.figures.items()}
    return [
        Goal(f"{_memory_of(memory_pairs)}, MB", median[_memory_of(memory_pairs)], 64, at_most=True),
        Goal(f"time to untiled, {pairs:,} pairs", median["time to untiled"], 1.3, at_most=True),
        Goal("gradients to untiled, norm of the difference", median["gradients to untiled"], 1e-6, at_most=True),
    ]


def in_processes(request: LossRequest) -> dict[str, tuple[float, ...]]:
    """Returns the measurements of each form, as maxima over processes."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(request.workers) as pool:
        argument = json.dumps(asdict(request))
        outputs = pool.map(
            lambda rank: in_fresh_process(__name__, [argument, str(rank), f"{folder}/store"], timeout_s=TIMEOUT_S),
            range(request.workers),
        )
        readings = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {form: tuple(map(max, zip(*(one[form] for one in readings), strict=True))) for form in request.forms}


def _process(request: LossRequest, rank: int, store: str) -> dict[str, list[float]]:
    """Runs a measurement in one of the processes."""
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
    """Measures the additional memory of forward and backward of a single form, in MB."""
    (form,) = request.forms
    loss = FORMS[form]()
    gradients(loss, unit_rows(SMALL, request.device))
    rows = unit_rows(request.pairs, request.device)
    return {form: [extra_memory_mb(lambda: gradients(loss, rows), device=request.device)]}


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

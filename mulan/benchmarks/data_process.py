"""One measurement of the data benchmark in a separate process.

``python -m mulan.benchmarks.data_process JOB_JSON`` prints it as JSON.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import ray
import torch

from mulan.benchmarks.data_streams import (
    Loaded,
    decode_alone,
    draw_of,
    ray_data,
    reader_alone,
    torch_dataloader,
    webdataset,
    window_of_whole,
)
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.config.sections import ScaleConfig
from mulan.data.audio.windows import decode_window
from mulan.data.corpus.records import read_record
from mulan.data.reader import MicroBatchReader
from mulan.launch.cluster import connect

ALONE: dict[str, Callable[[Recipe, MicroBatchReader], Iterator[Loaded]]] = {
    "decode alone": decode_alone,
    "reader alone": reader_alone,
}
LOADERS: dict[str, Callable[[Recipe, MicroBatchReader, int], Iterator[Loaded]]] = {
    "Ray Data": ray_data,
    "DataLoader": torch_dataloader,
    "WebDataset": webdataset,
    "DataLoader, whole": partial(torch_dataloader, decode=window_of_whole),
    "WebDataset, whole": partial(webdataset, decode=window_of_whole),
}

CHECKED = 2
"""Number of micro-batches that are compared with the decode function after the timing."""

TOLERANCE = 0.05
"""Maximum difference of windows from whole recordings, relative to their norm: they are resampled by other filters."""


@dataclass(frozen=True)
class DataJob:
    """The parameters of a measurement."""

    candidate: str
    """Key of :data:`ALONE` or :data:`LOADERS`."""
    recipe_toml: str
    """Recipe that names the corpus."""
    processes: int
    """Number of decoding processes."""
    warmup: int
    """Number of micro-batches of all processes before the timing."""
    measured: int
    """Number of timed micro-batches of all processes."""


@dataclass(frozen=True)
class DataReading:
    """The result of a measurement."""

    windows_per_s: float
    """Throughput of all processes."""
    cpu_ms_per_window: float
    """CPU time per window of all processes in milliseconds."""
    first_s: float
    """Time from the first call to the first micro-batch, without imports."""


def read(job: DataJob) -> DataReading:
    """Runs the measurement, and checks the delivered windows.

    Raises:
        AssertionError: A window differs from the decode function's.
    """
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    recipe = recipe_from_toml(job.recipe_toml, name="benchmark")
    reader = MicroBatchReader.from_recipe(recipe)
    if job.candidate in ALONE:
        return _read_alone(job, recipe, reader)
    if job.candidate == "Ray Data":
        connect(ScaleConfig(data_cpus=job.processes))
    try:
        begun = time.perf_counter()
        return _read_stream(job, recipe, reader, LOADERS[job.candidate](recipe, reader, job.processes), begun)
    finally:
        ray.shutdown()


def _read_stream(
    job: DataJob, recipe: Recipe, reader: MicroBatchReader, stream: Iterator[Loaded], begun: float
) -> DataReading:
    """Measures a stream that ends in this process."""
    next(stream)
    first_s = time.perf_counter() - begun
    _skip(stream, job.warmup)
    cpu_s, begun = _cpu_s(), time.perf_counter()
    _skip(stream, job.measured)
    seconds, cpu_s = time.perf_counter() - begun, _cpu_s() - cpu_s
    windows = job.measured * recipe.batch.pairs_per_micro_batch
    tolerance = TOLERANCE if job.candidate.endswith(", whole") else 0.0
    _check_next(stream, recipe, reader, tolerance)
    return DataReading(windows / seconds, 1000 * cpu_s / windows, first_s)


def _read_alone(job: DataJob, recipe: Recipe, reader: MicroBatchReader) -> DataReading:
    """Measures independent processes that only share the start and end of the timing."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(job.processes + 1)
    workers = [context.Process(target=_work, args=(job, recipe, reader, barrier)) for _ in range(job.processes)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    barrier.wait()
    first_s = time.perf_counter() - begun
    barrier.wait()
    cpu_s, begun = _cpu_s(), time.perf_counter()
    barrier.wait()
    seconds, cpu_s = time.perf_counter() - begun, _cpu_s() - cpu_s
    for worker in workers:
        worker.join()
    assert not any(worker.exitcode for worker in workers), "a window is not the decode function's"
    windows = job.measured // job.processes * job.processes * recipe.batch.pairs_per_micro_batch
    return DataReading(windows / seconds, 1000 * cpu_s / windows, first_s)


def _work(job: DataJob, recipe: Recipe, reader: MicroBatchReader, barrier: Barrier) -> None:
    try:
        stream = ALONE[job.candidate](recipe, reader)
        next(stream)
        barrier.wait()
        _skip(stream, job.warmup // job.processes)
        barrier.wait()
        _skip(stream, job.measured // job.processes)
        barrier.wait()
        _check_next(stream, recipe, reader)
    except BaseException:
        barrier.abort()
        raise


def _skip(stream: Iterator[Loaded], count: int) -> None:
    for _ in range(count):
        next(stream)


def _check_next(stream: Iterator[Loaded], recipe: Recipe, reader: MicroBatchReader, tolerance: float = 0.0) -> None:
    for _ in range(CHECKED):
        check(next(stream), recipe, reader, tolerance=tolerance)


def check(loaded: Loaded, recipe: Recipe, reader: MicroBatchReader, *, tolerance: float = 0.0) -> None:
    """Compares every window of a micro-batch with the decode function's result for the same recording.

    Args:
        loaded: Micro-batch to check.
        recipe: Recipe of the micro-batch.
        reader: Reader of its corpus.
        tolerance: Maximum norm of the difference, relative to that of the window.

    Raises:
        AssertionError: A window differs by more.
    """
    draws = [draw_of(name) for name in loaded.recording_id]
    if loaded.item is not None:
        plan = reader.plans[loaded.item.phase]
        draws = [pair.window_draw for pair in plan.micro_batch(loaded.item.step, loaded.item.micro_batch)]
    assert len(loaded.recording_id) == recipe.batch.pairs_per_micro_batch
    rows = {name: row for row, name in enumerate(reader.corpus.table["recording_id"].to_pylist())}
    for name, draw, window in zip(loaded.recording_id, draws, loaded.windows, strict=True):
        expected = _decoded(reader, rows[name], draw, recipe).astype(np.float64)
        assert np.linalg.norm(np.asarray(window) - expected) <= tolerance * np.linalg.norm(expected), name


def _decoded(reader: MicroBatchReader, row: int, draw: float, recipe: Recipe) -> np.ndarray:
    window = np.empty(recipe.data.window_samples, np.int16)
    audio = read_record(reader.corpus, row).audio
    decode_window(audio, window, draw=draw, sample_rate_hz=recipe.data.sample_rate_hz)
    return window


def _cpu_s() -> float:
    """Returns the CPU seconds of this process and all descendants, including those that ended and were waited for."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            process = int(stat.parent.name)
            parents[process], ticks[process] = int(fields[1]), sum(map(int, fields[11:15]))
    ours, more = {os.getpid()}, True
    while more:
        children = {process for process, parent in parents.items() if parent in ours} - ours
        ours, more = ours | children, bool(children)
    return sum(ticks[process] for process in ours) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(asdict(read(DataJob(**json.loads(sys.argv[1]))))))

"""Benchmark of the data path: windows per second of Ray Data, of the decode function alone, and of other loaders."""

import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict

from mulan.benchmarks.chords import FORMATS, write_chords
from mulan.benchmarks.data_process import ALONE, LOADERS, DataJob, DataReading
from mulan.benchmarks.measure import Figure, in_fresh_process, interleaved, ratios
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.slow_s3 import slow_s3
from mulan.config.recipe import Recipe
from mulan.config.sections import OptimConfig, ScaleConfig, TrainConfig
from mulan.data.groups import group_size
from mulan.data.reader import MicroBatchReader
from mulan.recipes.registry import demo

RECORDINGS = 128
"""Number of recordings of the generated corpus: about 70 MB, which the page cache holds after the first measurement."""

STORAGES = ("local", "s3")
"""Where the generated corpus is: on the local disk, or behind :mod:`mulan.benchmarks.slow_s3`."""

DELAY_S = 0.02
"""Time in seconds before each answer of the S3 server."""

GOALS = {"decode alone": 0.95, "DataLoader": 1.5, "WebDataset": 1.5, "DataLoader, whole": 1.5, "WebDataset, whole": 1.5}
"""Minimum speed of the Ray Data path as a multiple of each of these."""

_REMARKS = {
    "decode alone": "the decode function on bytes in memory, an upper bound",
    "reader alone": "mulan's plan, ranged reads, decoding and tokenization, without Ray",
    "Ray Data": "the full path of a training worker",
    "DataLoader": "torch, with the same ranged reads, decoding and tokenization",
    "WebDataset": "sequential shards and a shuffle buffer, with the same decoding and tokenization",
    "DataLoader, whole": "torch, with soundfile's decoding and torchaudio's resampling of whole recordings",
    "WebDataset, whole": "the same decoding of whole recordings",
}

_NOTES = (
    "All streams but the two alone end in one process. The same number of processes decodes; of Ray Data, three "
    "that share two CPUs.",
    "All but the decode function also read and tokenize, as in training; the time for it is not subtracted.",
    "On a busy machine, compare the CPU time per window: the kernel decides which share of a core each process gets.",
    "Timed after warm-up over whole rounds of tasks; delivered windows are compared with the decode function's.",
)

_WARMUP_CYCLES = 6
"""Number of tasks of every process before the timing: they consume micro-batches prepared while the stream started."""


def bench_data(
    *,
    rounds: int,
    workers: int,
    pairs: int,
    seconds: float,
    windows: int,
    data_uri: str,
    audio_format: str,
    storage: str,
    progress: Callable[[str], None],
) -> Report:
    """Measures every candidate in fresh processes, in turn.

    Args:
        rounds: Number of measurements of each candidate.
        workers: Number of decoding processes; 0 for one per core.
        pairs: Number of windows in a micro-batch.
        seconds: Length of a window in seconds.
        windows: Minimum number of windows timed in each measurement.
        data_uri: Folder of a prepared corpus without bad recordings; empty generates one with
            :mod:`mulan.benchmarks.chords`.
        audio_format: Format of the generated corpus, a key of :data:`mulan.benchmarks.chords.FORMATS`.
        storage: Where the generated corpus is, one of :data:`STORAGES`.
        progress: Called with a line of text after each measurement.

    Raises:
        CorpusError, PlanError: The corpus does not exist, or lacks texts of the demo's sources.
    """
    workers = workers or len(os.sched_getaffinity(0))
    generated = f"{RECORDINGS} x 30 s, {FORMATS[audio_format]}, {storage}"
    with nullcontext(data_uri) if data_uri else _generated(audio_format, storage, progress) as uri:
        recipe = recipe_to_read(uri, pairs, seconds)
        reader = MicroBatchReader.from_recipe(recipe)  # raises here instead of in a process of the first measurement
        cycle = workers * group_size(reader.waveform_shape)  # micro-batches of one task in every process
        measured = -(-windows // (pairs * cycle)) * cycle
        readings = _readings(recipe, workers, cycle, measured, rounds, progress)
    rows = [_row(name, readings) for name in readings]
    if "WebDataset" not in readings:
        rows.append(Row("WebDataset", {}, "not installed"))
    settings = {
        "processes": workers,
        "window": f"{seconds:g} s",
        "pairs per micro-batch": pairs,
        "windows per measurement": measured * pairs,
        "corpus": data_uri or generated,
        "tokenizer": f"{recipe.text_tower.pretrained}, {recipe.text_tower.max_tokens} tokens",
    }
    goals = [
        Goal(f"Ray Data / {peer}, median of rounds", _ratios("Ray Data", peer, readings).median, bound, at_most=False)
        for peer, bound in GOALS.items()
        if peer in readings
    ]
    return Report("data", settings, rows, goals, _NOTES)


@contextmanager
def _generated(audio_format: str, storage: str, progress: Callable[[str], None]) -> Iterator[str]:
    """Generates a corpus and yields its URI."""
    with tempfile.TemporaryDirectory() as folder:
        progress(f"generating {RECORDINGS} recordings")
        write_chords(folder, recordings=RECORDINGS, audio_format=FORMATS[audio_format])
        with nullcontext(folder) if storage == "local" else slow_s3(folder, delay_s=DELAY_S) as uri:
            yield uri


def recipe_to_read(uri: str, pairs: int, seconds: float) -> Recipe:
    """Returns the demo recipe with one micro-batch per step, and any number of steps."""
    changes = {
        "data.uri": uri,
        "data.window_s": seconds,
        "batch.micro_batches": 1,
        "batch.pairs_per_micro_batch": pairs,
    }
    return demo().replace(changes, optim=OptimConfig(), train=TrainConfig(), scale=ScaleConfig())


def _readings(
    recipe: Recipe, workers: int, cycle: int, measured: int, rounds: int, progress: Callable[[str], None]
) -> dict[str, list[DataReading]]:
    warmup = _WARMUP_CYCLES * cycle
    steps = warmup + measured + warmup  # the same amount afterwards, since processes exit with their last task
    toml = recipe.replace(train=TrainConfig(steps=steps)).to_toml()
    readings: dict[str, list[DataReading]] = {}

    def candidate(name: str) -> Callable[[], float]:
        def take() -> float:
            job = DataJob(name, toml, workers, warmup=warmup, measured=measured)
            output = in_fresh_process("mulan.benchmarks.data_process", [json.dumps(asdict(job))], timeout_s=3600)
            readings.setdefault(name, []).append(DataReading(**json.loads(output.splitlines()[-1])))
            return readings[name][-1].windows_per_s

        return take

    has_webdataset = importlib.util.find_spec("webdataset") is not None
    names = [name for name in (*ALONE, *LOADERS) if has_webdataset or not name.startswith("WebDataset")]
    interleaved(
        {name: candidate(name) for name in names},
        rounds=rounds,
        unit="windows/s",
        on_reading=lambda name, number, rate: progress(f"round {number}/{rounds}  {name}: {rate:.0f} windows/s"),
    )
    return {name: readings[name] for name in names}


def _row(name: str, readings: Mapping[str, Sequence[DataReading]]) -> Row:
    taken = readings[name]
    figures = {
        "windows/s": _rates(taken),
        "/ decode alone": _ratios(name, "decode alone", readings),
        "CPU per window": Figure(tuple(reading.cpu_ms_per_window for reading in taken), "ms"),
    }
    if name in LOADERS:
        figures["first micro-batch"] = Figure(tuple(reading.first_s for reading in taken), "s")
    return Row(name, figures, _REMARKS[name])


def _ratios(name: str, reference: str, readings: Mapping[str, Sequence[DataReading]]) -> Figure:
    return ratios(_rates(readings[name]), _rates(readings[reference]))


def _rates(taken: Sequence[DataReading]) -> Figure:
    return Figure(tuple(reading.windows_per_s for reading in taken), "")

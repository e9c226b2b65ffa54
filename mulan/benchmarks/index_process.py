"""A process that writes, opens, shares or orders an index of many rows, and prints the measurement as a line of JSON.

``python -m mulan.benchmarks.index_process write|open|share|order CORPUS ROWS``. Linux only: memory is read from
``/proc``.
"""

import json
import math
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mulan.benchmarks.synthetic_index import write_synthetic_index
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index import Corpus, Location
from mulan.data.plan import Plan
from mulan.data.randomness import Permutation
from mulan.data.streams import build_mixture
from mulan.recipes.registry import load_recipe

_RECIPE = "m_resnet50"
_READERS = 2
_PERIOD_S = 0.01
_AT_ONCE = 2**20
_BINS = 64
"""Number of parts into which the positions of an epoch, and the recordings, are divided."""


def write(corpus_uri: str, rows: int) -> dict[str, float]:
    """Writes a synthetic index."""
    with _peak_private_mib() as peak:
        begun = time.perf_counter()
        write_synthetic_index(corpus_uri, rows)
        seconds = time.perf_counter() - begun
    return {"write_s": seconds, "write_private_mib": peak()}


def open_and_plan(corpus_uri: str, rows: int) -> dict[str, float]:
    """Opens an index, and finds the byte ranges of the first micro-batch."""
    with _peak_private_mib() as peak:
        begun = time.perf_counter()
        corpus, plans = _planned(corpus_uri)
        _first_batch(corpus, plans)
        seconds = time.perf_counter() - begun
    assert corpus.recordings == rows
    buffers: list[pickle.PickleBuffer] = []
    pickle.dumps((corpus, plans), 5, buffer_callback=buffers.append)
    return {
        "first_batch_s": seconds,
        "private_mib": peak(),
        "shared_mib": sum(buffer.raw().nbytes for buffer in buffers) / 2**20,
    }


def share(corpus_uri: str, rows: int) -> dict[str, float]:
    """Puts an opened index into Ray's object store, and has other processes find the same byte ranges."""
    import ray

    from mulan.launch.cluster import connect

    connect(ScaleConfig(workers=1, data_cpus=_READERS))
    planned = _planned(corpus_uri)
    expected = _first_batch(*planned)
    begun = time.perf_counter()
    reference = ray.put(planned)
    put_s = time.perf_counter() - begun

    read = ray.remote(_read_shared).options(num_cpus=1)
    found = ray.get([read.remote([reference]) for _ in range(_READERS)])
    assert all(locations == expected for locations, _, _ in found)
    return {
        "share_s": put_s,
        "reader_s": max(seconds for _, seconds, _ in found),
        "reader_private_mib": max(private for _, _, private in found),
    }


def _read_shared(shared: list[Any]) -> tuple[list[Location], float, float]:
    """Returns the byte ranges of the first micro-batch, how long finding them took, and the private memory in MiB."""
    import ray

    begun = time.perf_counter()
    locations = _first_batch(*ray.get(shared[0]))
    return locations, time.perf_counter() - begun, _memory_mib("RssAnon")


def order(corpus_uri: str, rows: int) -> dict[str, float]:
    """Tests one epoch of an order of this many recordings: each once, in no pattern.

    The statistics are normal deviates, nearly, which exceed 4 in one of 16,000 orders that are drawn at random: of the
    chi-squared test of which part of the recordings is at which part of the positions, and of the correlation between
    successive recordings.
    """
    permutation = Permutation(rows, seed=0, purpose="train short_form", key=(0,))
    seen, counts = np.zeros(rows, bool), np.zeros((_BINS, _BINS), np.int64)
    products, mean, last = 0.0, (rows - 1) / 2, None
    for start in range(0, rows, _AT_ONCE):
        positions = np.arange(start, min(start + _AT_ONCE, rows))
        values = permutation(positions)
        seen[values] = True
        counts += np.histogram2d(positions, values, _BINS, [[0, rows], [0, rows]])[0].astype(np.int64)
        centred = (values if last is None else np.concatenate([[last], values])) - mean
        products += float(centred[:-1] @ centred[1:])
        last = values[-1]
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / rows
    freedom = (_BINS - 1) ** 2
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    variance = (rows**2 - 1) / 12
    return {
        "missing": float(rows - seen.sum()),
        "chi_squared_z": (chi_squared - freedom) / math.sqrt(2 * freedom),
        "serial_correlation_z": products / (rows - 1) / variance * math.sqrt(rows - 1),
    }


def _planned(corpus_uri: str) -> tuple[Corpus, dict[str, Plan]]:
    """Returns what every reader of a run has: the corpus, and the plans of training and validation."""
    recipe = load_recipe(_RECIPE, data_uri=corpus_uri)
    corpus, seed = Corpus.open(corpus_uri), recipe.train.seed
    plans = {}
    for split in ("train", "validation"):
        ratio, weights = recipe.data.source_ratio, recipe.loss.weights
        mixture = build_mixture(corpus, split, weights, ratio, recipe.semisupcon, seed=seed)
        plans[split] = Plan(mixture, batch=recipe.batch, seed=seed, split=split)
    return corpus, plans


def _first_batch(corpus: Corpus, plans: dict[str, Plan]) -> list[Location]:
    return corpus.locations([example.row for example in plans["train"].micro_batch(0, 0)])


@contextmanager
def _peak_private_mib() -> Iterator[Callable[[], float]]:
    """Yields a function that returns the peak of this process's private memory in MiB, once the block has ended."""
    readings, ended = [_memory_mib("RssAnon")], threading.Event()

    def read() -> None:
        while not ended.wait(_PERIOD_S):
            readings.append(_memory_mib("RssAnon"))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield lambda: max(readings)
    finally:
        ended.set()
        thread.join()


def _memory_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


MODES = {"write": write, "open": open_and_plan, "share": share, "order": order}

if __name__ == "__main__":
    print(json.dumps(MODES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))

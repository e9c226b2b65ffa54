"""A process that searches a collection once, and prints the measurement as a line of JSON.

``python -m mulan.benchmarks.retrieval_process KIND QUERIES RECORDINGS``, where the kind is ``search``, or
``scikit-learn`` for the whole matrix of similarities and a loop over its rows. Linux only: the kernel knows the peak of
memory.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from mulan.evaluation.metrics.retrieval import search

DIM = 128
MIN_RELEVANT, MAX_RELEVANT = 10, 100
"""Numbers of recordings that a query asks for (MuLan §4.1.3)."""


@dataclass(frozen=True)
class RetrievalReading:
    """One search."""

    seconds: float
    """Wall time in seconds."""
    cpu_s: float
    """CPU time of all threads in seconds."""
    peak_bytes: int
    """Peak of the memory of the process, with its libraries."""
    roc_auc: tuple[float, ...]
    """ROC-AUC of each query."""
    average_precision: tuple[float, ...]
    """Average precision of each query."""


@dataclass(frozen=True, eq=False)
class PlantedCollection:
    """Recordings and queries, each of which is near to the recordings that it asks for."""

    items: np.ndarray
    """Unit vectors, float32 [recordings, d]."""
    queries: np.ndarray
    """Unit vectors, float32 [queries, d]."""
    gold: tuple[np.ndarray, ...]
    """Rows of the recordings that each query asks for."""

    @classmethod
    def of(cls, queries: int, recordings: int) -> "PlantedCollection":
        """Draws a collection; its first queries are the same for any number of queries."""
        items = _unit(np.random.default_rng(0).standard_normal((recordings, DIM), np.float32))
        rng = np.random.default_rng(1)
        most = min(MAX_RELEVANT, recordings // 2)
        gold = tuple(
            rng.choice(recordings, int(rng.integers(min(MIN_RELEVANT, most), most + 1)), replace=False)
            for _ in range(queries)
        )
        return cls(items, _unit(np.array([items[rows].sum(axis=0) for rows in gold])), gold)


def read_retrieval(kind: str, queries: int, recordings: int) -> RetrievalReading:
    """Searches a planted collection.

    Args:
        kind: ``search`` or ``scikit-learn``.
        queries: Number of queries.
        recordings: Number of recordings.
    """
    collection = PlantedCollection.of(queries, recordings)
    scores = {"search": _by_mulan, "scikit-learn": _by_scikit_learn}[kind]
    wall_s, cpu_s = time.monotonic(), time.process_time()
    found = list(scores(collection))
    wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
    areas, precisions = zip(*found, strict=True)
    return RetrievalReading(wall_s, cpu_s, _peak_bytes(), areas, precisions)


def _by_mulan(collection: PlantedCollection) -> Iterator[tuple[float, float]]:
    gold = [rows.tolist() for rows in collection.gold]
    for positions in search(collection.queries, collection.items, gold):
        yield positions.roc_auc, positions.average_precision


def _by_scikit_learn(collection: PlantedCollection) -> Iterator[tuple[float, float]]:
    similarity = collection.queries.astype(np.float64) @ collection.items.astype(np.float64).T
    for scores, rows in zip(similarity, collection.gold, strict=True):
        truth = np.zeros(len(scores), dtype=bool)
        truth[rows] = True
        yield float(roc_auc_score(truth, scores)), float(average_precision_score(truth, scores))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


if __name__ == "__main__":
    print(json.dumps(asdict(read_retrieval(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))

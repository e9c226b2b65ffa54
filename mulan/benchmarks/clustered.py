"""Synthetic vectors in clusters, in a file that need not fit into memory, and the exact neighbours of queries."""

from pathlib import Path

import numpy as np

DIM = 128
NEIGHBOURS = 10
"""Number of neighbours of a query."""
QUERIES = 200
_PER_CLUSTER = 500
_SPREAD = 0.06
"""Standard deviation of each number from that of the centre; a vector's similarity to its centre is then about 0.83."""
_AT_ONCE = 250_000
VECTORS, WANTED, TRUTH = "vectors.npy", "queries.npy", "neighbours.npy"


def write_clustered(folder: Path, count: int) -> None:
    """Writes unit vectors, float32 [count, 128], queries like them, and the numbers of the neighbours of each query."""
    rng = np.random.default_rng(0)
    centres = _unit(rng.standard_normal((max(count // _PER_CLUSTER, 1), DIM), np.float32))
    queries = _around(centres, QUERIES, np.random.default_rng(1))
    vectors = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float32, (count, DIM))
    scores, rows = np.zeros((QUERIES, 0), np.float32), np.zeros((QUERIES, 0), np.int64)
    for number, start in enumerate(range(0, count, _AT_ONCE)):
        some = _around(centres, min(_AT_ONCE, count - start), np.random.default_rng(2 + number))
        vectors[start : start + len(some)] = some
        scores = np.concatenate([scores, queries @ some.T], axis=1)
        rows = np.concatenate(
            [rows, np.broadcast_to(np.arange(start, start + len(some)), (QUERIES, len(some)))], axis=1
        )
        best = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    vectors.flush()
    np.save(folder / WANTED, queries)
    np.save(folder / TRUTH, rows)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of the neighbours that were found, of int64 [queries, k] each."""
    hits = [len(set(one.tolist()) & set(other.tolist())) for one, other in zip(found, truth, strict=True)]
    return sum(hits) / truth.size


def _around(centres: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    chosen = centres[rng.integers(0, len(centres), count)]
    return _unit(chosen + _SPREAD * rng.standard_normal((count, DIM), np.float32))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

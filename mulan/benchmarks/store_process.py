"""A process that makes an index of vectors, or searches it, and prints the measurement as a line of JSON.

``python -m mulan.benchmarks.store_process build|search STORE FOLDER``, where the folder has what
:func:`mulan.benchmarks.clustered.write_clustered` has written. Linux only: the kernel knows the peak of memory.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mulan.benchmarks.clustered import DIM, NEIGHBOURS, TRUTH, VECTORS, WANTED, recall
from mulan.search.query import Query
from mulan.search.rows import DETAILS, DIGEST, VECTOR, details, row_schema
from mulan.search.table import RecordingTable

_ROWS_AT_ONCE = 50_000
_PROBES = 64
_PARTITIONS_PER_ROOT = 1.3
_REFINED_OF_CODES = 50
"""The vectors that FAISS compares again after its coarse codes, as a multiple of those asked for."""

Search = Callable[[np.ndarray], np.ndarray]
"""Returns the numbers of the vectors that are nearest to one, int64 [k]."""


@dataclass(frozen=True)
class StoreReading:
    """One index that was made or searched."""

    seconds: float
    """Time in seconds to make it."""
    peak_bytes: int
    """Peak of the memory of the process."""
    recall: float = 0.0
    """Share of the neighbours that were found."""
    latencies_ms: tuple[float, ...] = ()
    """Time of each query."""


def build(store: str, folder: Path) -> StoreReading:
    """Makes an index of the vectors in a folder."""
    vectors = np.load(folder / VECTORS, mmap_mode="r")
    begun = time.perf_counter()
    _STORES[store][0](vectors, folder / store)
    return StoreReading(time.perf_counter() - begun, _peak_bytes())


def search(store: str, folder: Path) -> StoreReading:
    """Opens an index and searches it, one query at a time."""
    queries, truth = np.load(folder / WANTED), np.load(folder / TRUTH)
    begun = time.perf_counter()
    nearest = _STORES[store][1](folder / store)
    opened = time.perf_counter() - begun
    for query in queries[:20]:
        nearest(query)  # the first ones fill caches
    found, latencies = [], []
    for query in queries:
        begun = time.perf_counter()
        found.append(nearest(query)[:NEIGHBOURS])
        latencies.append(1000 * (time.perf_counter() - begun))
    return StoreReading(opened, _peak_bytes(), recall(np.array(found), truth), tuple(latencies))


def _build_own(vectors: np.ndarray, path: Path) -> None:
    schema = row_schema(DIM, windows=False)
    table = RecordingTable.create(str(path), schema, _batches(vectors, schema))
    table.index_columns(approximate_above=0)


def _batches(vectors: np.ndarray, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        some = np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE])
        count = len(some)
        ids = [f"{number:09d}" for number in range(start, start + count)]
        shown = {
            "uri": [f"/music/{name}.mp3" for name in ids],
            "offset": [0] * count,
            "length": [720_000] * count,
            "extension": ["mp3"] * count,
            "start_s": [0.0] * count,
            "duration_s": [30.0] * count,
            "title": [f"Title {name}" for name in ids],
            "artist": [""] * count,
            "waveform": [bytes(200)] * count,
            "window_starts_s": [b""] * count,
        }
        columns: dict[str, pa.Array] = {
            "recording_id": pa.array(ids),
            "duration_s": pa.array(shown["duration_s"]),
            "tags": pa.array([[f"genre:{number % 20}"] for number in range(count)]),
            DETAILS: details({name: pa.array(values) for name, values in shown.items()}),
            VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(some.reshape(-1)), DIM),
            DIGEST: pa.array(np.arange(start, start + count)),
        }
        yield pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _open_own(path: Path) -> Search:
    table = RecordingTable.open(str(path))

    def nearest(query: np.ndarray) -> np.ndarray:
        (row_ids,) = table.nearest([Query(query, NEIGHBOURS)])
        rows = table.take(row_ids)
        order = np.argsort([-(row.vector @ query) for row in rows], kind="stable")
        return np.array([int(rows[number].recording_id) for number in order])

    return nearest


def _build_faiss(codes: str) -> Callable[[np.ndarray, Path], None]:
    def build_faiss(vectors: np.ndarray, path: Path) -> None:
        faiss = importlib.import_module("faiss")
        partitions = 2 ** round(np.log2(_PARTITIONS_PER_ROOT * len(vectors) ** 0.5))
        index = faiss.index_factory(DIM, f"IVF{partitions},{codes}", faiss.METRIC_INNER_PRODUCT)
        rng = np.random.default_rng(0)
        sample = np.sort(rng.choice(len(vectors), min(len(vectors), 64 * partitions), replace=False))
        index.train(np.ascontiguousarray(vectors[sample]))
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            index.add(np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE]))
        faiss.write_index(index, str(path))

    return build_faiss


def _open_faiss(path: Path) -> Search:
    faiss = importlib.import_module("faiss")
    index = faiss.read_index(str(path))
    if isinstance(index, faiss.IndexRefine):
        index.k_factor = _REFINED_OF_CODES
    faiss.extract_index_ivf(index).nprobe = _PROBES
    return lambda query: index.search(query[None], NEIGHBOURS)[1][0]


def _build_usearch(vectors: np.ndarray, path: Path) -> None:
    index = importlib.import_module("usearch.index").Index(ndim=DIM, metric="ip", dtype="i8")
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        some = np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE])
        index.add(np.arange(start, start + len(some)), some, threads=os.cpu_count() or 1)
    index.save(str(path))


def _open_usearch(path: Path) -> Search:
    index = importlib.import_module("usearch.index").Index.restore(str(path))
    return lambda query: np.asarray(index.search(query, NEIGHBOURS).keys, np.int64)


def _build_hnswlib(vectors: np.ndarray, path: Path) -> None:
    index = importlib.import_module("hnswlib").Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(vectors), ef_construction=100, M=16)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        index.add_items(np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE]))
    index.save_index(str(path))


def _open_hnswlib(path: Path) -> Search:
    index = importlib.import_module("hnswlib").Index(space="ip", dim=DIM)
    index.load_index(str(path))
    index.set_ef(100)
    return lambda query: index.knn_query(query, NEIGHBOURS)[0][0].astype(np.int64)


_STORES: dict[str, tuple[Callable[[np.ndarray, Path], Any], Callable[[Path], Search]]] = {
    "lancedb": (_build_own, _open_own),
    "faiss": (_build_faiss("PQ64"), _open_faiss),
    "faiss_refined": (_build_faiss("PQ32,Refine(SQ8)"), _open_faiss),
    "usearch": (_build_usearch, _open_usearch),
    "hnswlib": (_build_hnswlib, _open_hnswlib),
}


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


if __name__ == "__main__":
    print(json.dumps(asdict({"build": build, "search": search}[sys.argv[1]](sys.argv[2], Path(sys.argv[3])))))

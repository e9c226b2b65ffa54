"""Benchmark of searches: a server under load, and the store of its vectors against other stores."""

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mulan.benchmarks.clustered import DIM, NEIGHBOURS, QUERIES, write_clustered
from mulan.benchmarks.measure import BenchmarkFailed, BenchmarkRefused, Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.search_load import LoadReading
from mulan.benchmarks.store_process import StoreReading
from mulan.collection.embeddings import CollectionEmbeddings, EmbeddingModel, Manifest, write_manifest
from mulan.collection.part import part_name, part_schema, part_table, write_part
from mulan.evaluation.encoders.registry import open_encoder
from mulan.recipes.registry import named_recipes
from mulan.search.building import add_to_index
from mulan.tasks.joint import JointTask

GOAL_P50_MS, GOAL_P99_MS, GOAL_START_S = 25.0, 150.0, 20.0
"""Goals of a server with 100,000 recordings on two cores, with 16 clients at once."""
GOAL_RECALL, GOAL_QUERY_MS, GOAL_GIB = 0.95, 50.0, 4.0
"""Goals of the approximate index of 10 million vectors."""
STORES = {
    "lancedb": "lancedb", "faiss": "faiss", "faiss_refined": "faiss", "usearch": "usearch", "hnswlib": "hnswlib",
}  # fmt: skip
"""The stores of vectors that can be compared, with their modules."""
OWN_STORE = "lancedb"
SERVER = "server"

_ROWS_OF_A_PART = 10_000
_START_TIMEOUT_S = 180.0
_TIMEOUT_S = 4 * 3600.0


def bench_search(
    *,
    recordings: int,
    requests: int,
    clients: int,
    vectors: int,
    stores: Sequence[str],
    progress: Callable[[str], None],
) -> Report:
    """Sends searches to a server with a model of random weights, and searches vectors in several stores.

    Args:
        recordings: Number of recordings of the server's index, which is exact.
        requests: Number of searches by different texts that are sent to it; 0 for no server.
        clients: Number of clients, each of which waits for its answer before it asks again.
        vectors: Number of vectors of the approximate indices; 0 for none.
        stores: Any of :data:`STORES`.
        progress: Called with a line of text after each measurement.
    """
    unknown = [store for store in stores if store not in STORES]
    if unknown or min(requests, vectors) < 0 or (requests and min(recordings, clients) < 1):
        raise BenchmarkRefused(
            f"there are the stores {', '.join(STORES)}; numbers must be positive, but --requests and --vectors may be 0"
        )
    rows, goals = [], []
    with tempfile.TemporaryDirectory() as folder:
        if requests:
            row, met = _server(Path(folder), recordings, requests, clients, progress)
            rows.append(row)
            goals += met
        if vectors:
            write_clustered(Path(folder), vectors)
            progress(f"{vectors} vectors in clusters, and the neighbours of {QUERIES} queries, are written")
            for store in stores:
                row, met = _store(Path(folder), store, progress)
                rows.append(row)
                goals += met if store == OWN_STORE else []
    settings = {"recordings": recordings, "requests": requests, "clients": clients, "vectors": vectors, "d": DIM}
    notes = [
        "server: the time of a request in the process that answers it, without the model's forward pass; model: until "
        "the text was embedded, together with others. recall: share of the exact 10 neighbours that are found."
    ]
    return Report("Search", settings, rows, goals, notes)


def _server(
    folder: Path, recordings: int, requests: int, clients: int, progress: Callable[[str], None]
) -> tuple[Row, list[Goal]]:
    index_uri = _index(folder, recordings)
    progress(f"an index of {recordings} recordings is made")
    with _serving(index_uri) as (address, start_s):
        progress(f"the server has answered after {start_s:.1f} s")
        arguments = [address, str(requests), str(clients)]
        output = in_fresh_process("mulan.benchmarks.search_load", arguments, timeout_s=_TIMEOUT_S)
    reading = LoadReading(**json.loads(output.splitlines()[-1]))
    if not reading.server_ms:
        raise BenchmarkFailed("the server has answered no request with hits")
    figures = {"start": Figure((start_s,), "s"), "requests": Figure((requests / reading.seconds,), "/s")}
    without_model = np.subtract(reading.server_ms, reading.model_ms)
    for name, times in (("server", without_model), ("model", reading.model_ms), ("client", reading.client_ms)):
        for share in (50, 99):
            figures[f"{name} p{share}"] = Figure((float(np.percentile(times, share)),), "ms")
    progress(f"{requests} requests: p50 {figures['server p50'].median:.1f} ms in the server, {reading.errors} errors")
    return Row(SERVER, figures), [
        Goal("time in the server, p50, ms", figures["server p50"].median, GOAL_P50_MS, at_most=True),
        Goal("time in the server, p99, ms", figures["server p99"].median, GOAL_P99_MS, at_most=True),
        Goal("errors", reading.errors, 0, at_most=True),
        Goal("time until the first answer, s", start_s, GOAL_START_S, at_most=True),
    ]


def _store(folder: Path, store: str, progress: Callable[[str], None]) -> tuple[Row, list[Goal]]:
    if importlib.util.find_spec(STORES[store]) is None:
        return Row(store, {}, "not installed: pip install -e '.[peers]'"), []
    built, searched = (_reading(kind, store, folder) for kind in ("build", "search"))
    p50, p99 = (float(np.percentile(searched.latencies_ms, share)) for share in (50, 99))
    gib = searched.peak_bytes / 2**30
    progress(f"{store}: built in {built.seconds:.0f} s, recall {searched.recall:.3f}, p50 {p50:.1f} ms, {gib:.2f} GiB")
    figures = {
        "build": Figure((built.seconds,), "s"),
        "build peak": Figure((built.peak_bytes / 2**30,), "GiB"),
        "recall": Figure((searched.recall,), ""),
        "query p50": Figure((p50,), "ms"),
        "query p99": Figure((p99,), "ms"),
        "peak": Figure((gib,), "GiB"),
    }
    return Row(store, figures), [
        Goal(f"recall@{NEIGHBOURS}", searched.recall, GOAL_RECALL, at_most=False),
        Goal("time of a query, p50, ms", p50, GOAL_QUERY_MS, at_most=True),
        Goal("peak memory of searches, GiB", gib, GOAL_GIB, at_most=True),
    ]


def _reading(kind: str, store: str, folder: Path) -> StoreReading:
    output = in_fresh_process("mulan.benchmarks.store_process", [kind, store, str(folder)], timeout_s=_TIMEOUT_S)
    return StoreReading(**json.loads(output.splitlines()[-1]))


def _index(folder: Path, recordings: int) -> str:
    """Makes an index of random vectors, with the demo's model without training."""
    recipe, model = named_recipes()["demo"], folder / "model"
    model.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        JointTask(recipe).export(JointTask(recipe).build_model(), model)
    info = open_encoder(str(model), device="cpu").info
    described = EmbeddingModel(**{name: getattr(info, name) for name in EmbeddingModel.model_fields})
    schema, names, embeddings = part_schema(info.dim, "float32", windows=False), [], folder / "embeddings"
    embeddings.mkdir()
    for start in range(0, recordings, _ROWS_OF_A_PART):
        names.append(part_name(f"{start:08x}"))
        count = min(_ROWS_OF_A_PART, recordings - start)
        write_part(str(embeddings), names[-1], part_table(_columns(start, count, info.dim), schema))
    manifest = Manifest(
        model=described, dtype="float32", windows=False, recordings=recordings, parts=tuple(names), skipped={}
    )
    write_manifest(str(embeddings), manifest)
    add_to_index(str(folder / "index"), CollectionEmbeddings.open(str(embeddings)), approximate_above=recordings)
    return str(folder / "index")


def _columns(start: int, count: int, dim: int) -> dict[str, Any]:
    vectors = np.random.default_rng(start).standard_normal((count, dim), np.float32)
    numbers = range(start, start + count)
    return {
        "recording_id": [f"{number:09d}" for number in numbers],
        "uri": [f"/music/{number}.flac" for number in numbers],
        "offset": [0] * count,
        "length": [1] * count,
        "extension": ["flac"] * count,
        "start_s": [0.0] * count,
        "duration_s": [30.0] * count,
        "title": [f"Title {number}" for number in numbers],
        "artist": [f"Artist {number % 1000}" for number in numbers],
        "tags": [[f"genre:{number % 20}", f"mood:{number % 7}"] for number in numbers],
        "waveform": [bytes(200)] * count,
        "embedding": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    }


@contextmanager
def _serving(index_uri: str) -> Iterator[tuple[str, float]]:
    """Starts a server, and yields its address and the seconds until its first answer to a search."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    begun = time.perf_counter()
    command = [sys.executable, "-m", "jobs.serve", "--index", index_uri, "--port", str(port)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=root)
    try:
        while not _answers(f"{address}/api/search?q=piano"):
            if process.poll() is not None or time.perf_counter() - begun > _START_TIMEOUT_S:
                raise BenchmarkFailed(f"the server has not started: {process.stderr and process.stderr.read()[-2000:]}")
            time.sleep(0.05)
        yield address, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_START_TIMEOUT_S) as response:
            return bool(response.status == 200)
    except OSError:
        return False

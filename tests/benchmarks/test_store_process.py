"""Every store that is installed finds the neighbours of vectors that it has indexed."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mulan.benchmarks.clustered import QUERIES, TRUTH, write_clustered
from mulan.benchmarks.measure import in_fresh_process
from mulan.benchmarks.store_process import StoreReading, build, search

MIN_RECALL = {"lancedb": 0.9, "usearch": 0.8, "hnswlib": 0.9}
"""Without faiss, whose product quantizers are trained for minutes; the vectors in usearch have 8 bits per number."""
INSTALLED = [store for store in MIN_RECALL if importlib.util.find_spec(store)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    write_clustered(folder, 2000)
    return folder


@pytest.mark.parametrize("store", INSTALLED)
def test_a_store_finds_the_neighbours(folder: Path, store: str) -> None:
    built = build(store, folder)
    assert built.seconds > 0
    found = search(store, folder)
    assert found.recall > MIN_RECALL[store]
    assert len(found.latencies_ms) == QUERIES and min(found.latencies_ms) > 0
    assert min(found.peak_bytes, built.peak_bytes) > 10**7


def test_recall_counts_what_was_not_found(tmp_path: Path) -> None:
    """Truths that are wrong for half of the queries halve the recall of a store that finds nearly all."""
    write_clustered(tmp_path, 1000)
    build("lancedb", tmp_path)
    right = search("lancedb", tmp_path).recall
    truth = np.load(tmp_path / TRUTH)
    truth[::2] += 1_000_000
    np.save(tmp_path / TRUTH, truth)
    assert search("lancedb", tmp_path).recall == pytest.approx(right / 2, abs=0.02)


@pytest.mark.processes
def test_the_process_prints_the_measurement(folder: Path) -> None:
    in_fresh_process("mulan.benchmarks.store_process", ["build", "lancedb", str(folder)], timeout_s=120)
    output = in_fresh_process("mulan.benchmarks.store_process", ["search", "lancedb", str(folder)], timeout_s=120)
    reading = StoreReading(**json.loads(output.splitlines()[-1]))
    assert reading.recall > 0.9
    assert set(json.loads(output.splitlines()[-1])) == set(asdict(reading))

"""The synthetic vectors are in clusters, and their neighbours are those that brute force in float64 finds."""

from pathlib import Path

import numpy as np
import pytest

from mulan.benchmarks import clustered
from mulan.benchmarks.clustered import DIM, NEIGHBOURS, QUERIES, TRUTH, VECTORS, WANTED, recall, write_clustered

COUNT = 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clustered")
    write_clustered(folder, COUNT)
    return folder


def test_the_vectors_are_of_unit_length_and_in_clusters(folder: Path) -> None:
    vectors = np.load(folder / VECTORS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (COUNT, DIM))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    similarities = vectors[:600] @ vectors[:600].T
    is_same = similarities > 0.4  # of different clusters, they are nearly orthogonal
    assert 1 / 9 < is_same.mean() < 1 / 3  # six clusters
    assert similarities[is_same & ~np.eye(600, dtype=bool)].mean() == pytest.approx(0.83**2, abs=0.02)


@pytest.mark.parametrize("at_once", [clustered._AT_ONCE, 700, 3000])
def test_the_neighbours_are_those_of_brute_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Also if the vectors are made in several parts, of which the last one is smaller."""
    monkeypatch.setattr(clustered, "_AT_ONCE", at_once)
    write_clustered(tmp_path, COUNT)
    vectors, queries, truth = (np.load(tmp_path / name) for name in (VECTORS, WANTED, TRUTH))
    assert (queries.shape, truth.shape) == ((QUERIES, DIM), (QUERIES, NEIGHBOURS))
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    expected = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
    found = np.take_along_axis(scores, truth, 1)
    np.testing.assert_allclose(found, np.take_along_axis(scores, expected, 1), atol=1e-6)  # float32 may swap two
    assert recall(truth, expected) > 0.999


def test_queries_are_no_vectors_of_the_collection(folder: Path) -> None:
    best = (np.load(folder / WANTED) @ np.load(folder / VECTORS).T).max(axis=1)
    assert best.min() > 0.6 and best.max() < 0.99


def test_recall_is_the_share_of_neighbours_that_were_found() -> None:
    truth = np.array([[1, 2], [3, 4]])
    assert recall(truth[:, ::-1], truth) == 1
    assert recall(np.array([[1, 9], [8, 9]]), truth) == 0.25
    assert recall(np.array([[3, 4], [1, 2]]), truth) == 0

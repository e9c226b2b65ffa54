"""Tests jobs.index: an index is made, extended and shortened, and what cannot be indexed is refused."""

from pathlib import Path

import pytest

from mulan.search.index import SearchIndex
from tests.jobs.called import Job, assert_refused
from tests.search.planted import name_of, planted_vectors, write_planted


@pytest.fixture
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_planted(tmp_path_factory.mktemp("embeddings"), planted_vectors(20)).uri


def test_an_index_is_made_extended_and_shortened(job: Job, embeddings: str) -> None:
    code, out, err = job("index", "--embeddings", embeddings, "--out", "index")
    assert (code, err) == (0, "")
    assert "index  20 added; 20 recordings, searched exactly" in out
    assert "python -m jobs.search --index index 'slow sad piano'" in out
    code, out, _ = job("index", "--embeddings", embeddings, "--out", "index")
    assert "index  20 unchanged; 20 recordings, searched exactly" in out
    Path("ids.txt").write_text(f"{name_of(3)}\n{name_of(4)}\n", encoding="utf-8")
    code, out, _ = job("index", "--out", "index", "--delete", "@ids.txt", "--delete", name_of(9))
    assert (code, "index  3 deleted; 17 recordings, searched exactly" in out) == (0, True)
    assert SearchIndex.open("index").recordings == 17
    code, _, err = job("index", "--out", "index", "--delete", "no such")
    assert (code, "nothing was deleted: 'no such'" in err) == (2, True)


def test_what_does_not_go_together_is_refused(job: Job, embeddings: str) -> None:
    assert_refused(job("index", "--out", "index"), "give either --embeddings")
    assert_refused(job("index", "--out", "index", "--embeddings", embeddings, "--delete", "a"), "give either")
    assert_refused(job("index", "--out", "index", "--embeddings", "none"), "none", "no embeddings")
    assert_refused(job("index", "--out", "index", "--delete", "a"), "there is no index", "jobs.index")
    assert_refused(job("index", "--out", "index", "--delete", "@none"), "--delete @none: the file cannot be read")

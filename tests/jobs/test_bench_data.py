"""Tests that invalid requests for benchmarks of data are refused before the first measurement."""

from pathlib import Path

import pytest

from tests.jobs.called import Job, assert_refused


@pytest.mark.parametrize("rows", ["0", "-1", "many"])
def test_a_number_of_rows_is_positive(job: Job, rows: str) -> None:
    code, out, err = job("bench", "index", "--rows", rows)
    assert (code, out) == (2, "")
    assert "--rows" in err


def test_a_corpus_that_does_not_exist_is_refused(job: Job) -> None:
    assert_refused(job("bench", "data", "--data", "/nowhere/tones"), "corpus /nowhere/tones: there is no index.parquet")


def test_a_checkout_to_compare_with_contains_mulan(job: Job, tmp_path: Path) -> None:
    assert_refused(job("bench", "decode", "--against", str(tmp_path)), f"--against {tmp_path}: there is no mulan")
    assert_refused(job("bench", "decode", "--against", "x" * 300), "there is no mulan")


@pytest.mark.parametrize("kind", ["index", "preparation"])
def test_what_is_measured_with_a_local_ray_joins_no_cluster(
    job: Job, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert_refused(job("bench", kind), "RAY_ADDRESS is set")


def test_an_index_has_rows_of_every_kind(job: Job) -> None:
    assert_refused(job("bench", "index", "--rows", "5000"), "--rows 5000: at least 200000 are needed")

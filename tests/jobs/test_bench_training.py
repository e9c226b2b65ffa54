"""Tests that invalid requests for benchmarks of training are refused before the first measurement."""

import pytest

from tests.jobs.called import Job, assert_refused


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--engine", "ray"]])
def test_a_corpus_that_does_not_exist_is_refused(job: Job, options: list[str]) -> None:
    refused = job("bench", "step", *options, "--data", "/nowhere/tones")
    assert_refused(refused, "corpus /nowhere/tones: there is no index.parquet")


def test_the_whole_path_needs_a_corpus(job: Job) -> None:
    assert_refused(job("bench", "step", "--engine", "ray"), "--engine ray", "--data")


@pytest.mark.parametrize("kind", ["start", "metrics"])
def test_what_is_measured_with_a_local_ray_joins_no_cluster(
    job: Job, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert_refused(job("bench", kind), "RAY_ADDRESS is set")

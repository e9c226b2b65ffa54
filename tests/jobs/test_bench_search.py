"""Tests that invalid requests for benchmarks of searches are refused before the first measurement."""

import pytest

from tests.jobs.called import Job, assert_refused


@pytest.mark.parametrize("option", ["--queries", "--recordings"])
def test_numbers_are_positive(job: Job, option: str) -> None:
    code, out, err = job("bench", "retrieval", option, "0")
    assert (code, out) == (2, "")
    assert option in err


def test_what_is_measured_with_a_local_ray_joins_no_cluster(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert_refused(job("bench", "embedding"), "RAY_ADDRESS is set")

"""Tests the options of the benchmark of an index."""

from tests.jobs.called import Job, assert_refused


def test_a_number_of_rows_is_positive(job: Job) -> None:
    for rows in ("0", "-1", "many"):
        assert_refused(job("bench", "index", "--rows", rows), "--rows")

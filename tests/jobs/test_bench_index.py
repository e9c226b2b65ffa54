"""Tests the options of the benchmark of an index."""

import pytest

from tests.jobs.called import Job


@pytest.mark.parametrize("rows", ["0", "-1", "many"])
def test_a_number_of_rows_is_positive(job: Job, rows: str) -> None:
    code, out, err = job("bench", "index", "--rows", rows)
    assert (code, out) == (2, "")
    assert "--rows" in err

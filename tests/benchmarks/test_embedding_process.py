"""Tests the rate after the start."""

import pytest

from mulan.benchmarks.embedding_process import steady_rate


def test_the_start_does_not_count() -> None:
    times = [(100.0, 1), (101.0, 4), (103.0, 8), (105.0, 12)]
    assert steady_rate(times) == pytest.approx(8 / 4)
    assert steady_rate([(100.0, 0), *times]) == steady_rate(times)

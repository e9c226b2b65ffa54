"""The data benchmark on a corpus of tones: all candidates deliver what the decode function makes, and are shown."""

import pytest

from mulan.benchmarks.data import GOALS, bench_data
from mulan.benchmarks.data_process import ALONE, LOADERS


@pytest.mark.long(group="whole")
@pytest.mark.processes
def test_all_candidates_are_read(tiny_corpus: str) -> None:
    said: list[str] = []
    windows = 1320  # so many that the CPU taken is not nought, which is counted in hundredths of a second
    report = bench_data(
        rounds=1, workers=2, pairs=6, seconds=30.0, windows=windows, data_uri=tiny_corpus, progress=said.append
    )  # each candidate fails unless its windows are the decode function's
    assert [row.name for row in report.rows] == [*ALONE, *LOADERS]
    assert len(said) == len(report.rows)
    for row in report.rows:
        assert all(figure.low > 0 for figure in row.figures.values())
        assert ("first micro-batch" in row.figures) == (row.name in LOADERS)
    assert [goal.bound for goal in report.goals] == list(GOALS.values())

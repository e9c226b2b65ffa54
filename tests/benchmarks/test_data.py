"""Tests the data benchmark on a corpus of tones: all candidates deliver the windows of the decode function."""

import pytest

from mulan.benchmarks.data import GOALS, bench_data, recipe_to_read
from mulan.benchmarks.data_process import ALONE, LOADERS


@pytest.mark.parametrize("steps", [1, 5000])
def test_the_recipe_may_have_any_number_of_steps(steps: int) -> None:
    recipe = recipe_to_read("", 32, 10.0).replace({"train.steps": steps})
    assert (recipe.batch.pairs, recipe.data.window_s) == (32, 10.0)


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_all_candidates_are_measured(tiny_corpus: str) -> None:
    lines: list[str] = []
    windows = 1320  # enough for a CPU time above zero, which is counted in hundredths of a second
    report = bench_data(
        rounds=1,
        workers=2,
        pairs=6,
        seconds=30.0,
        windows=windows,
        data_uri=tiny_corpus,
        audio_format="flac",
        storage="local",
        progress=lines.append,
    )  # a candidate with other windows than the decode function's fails
    assert [row.name for row in report.rows] == [*ALONE, *LOADERS]
    assert len(lines) == len(report.rows)
    for row in report.rows:
        assert all(figure.low > 0 for figure in row.figures.values())
        assert ("first micro-batch" in row.figures) == (row.name in LOADERS)
    assert [goal.bound for goal in report.goals] == list(GOALS.values())

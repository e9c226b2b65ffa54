"""Tests the benchmark of exact sums in small."""

import pytest

from mulan.benchmarks.sums import bench_sums, with_sums
from mulan.recipes.registry import load_recipe


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_the_report_has_every_measurement() -> None:
    lines: list[str] = []
    recipe = load_recipe("demo_miniature", ["train.zero_stage=2"])
    report = bench_sums(recipe, rounds=2, steps=2, tokens=0, progress=lines.append)
    plain, exact = report.rows
    assert (plain.name, exact.name) == ("plain", "exact")
    for row in report.rows:
        assert len(row.figures["step"].values) == 2 and row.figures["step"].low > 0
        assert row.figures["peak memory of a worker"].low > 2**-10
    (goal,) = report.goals
    assert goal.measured == exact.figures["/ plain"].median
    assert len(lines) == 2


def test_only_the_kind_of_sums_changes() -> None:
    recipe = load_recipe("demo")
    plain = with_sums(recipe, exact=False)
    assert not plain.train.exact_sums and recipe.train.exact_sums
    assert with_sums(plain, exact=True) == recipe

"""Tests how the report of embedding follows from rates; the processes that measure them are replaced."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mulan.benchmarks import embedding
from mulan.benchmarks.embedding import bench_embedding
from mulan.data.corpus.index import Corpus


@pytest.mark.parametrize(("rate", "met"), [(9.5, True), (8.9, False)])
def test_the_rate_of_the_pipeline_is_compared_with_that_of_the_model(rate: float, met: bool) -> None:
    lines: list[str] = []

    def measured(module: str, arguments: Sequence[str], **_: Any) -> str:
        way, corpus, model = arguments
        assert len(Corpus.open(corpus).rows("train")) == 2
        assert Path(model, "config.json").is_file()
        return f"something else\n{rate if way in ('job', 'collection') else 10.0}\n"

    with patch.object(embedding, "in_fresh_process", measured):
        report = bench_embedding(rounds=2, recordings=2, progress=lines.append)
    assert report.rows[0].figures["/ model"].median == pytest.approx(rate / 10)
    assert [goal.met for goal in report.goals] == [met, met]
    assert [row.figures["rate"].median for row in report.rows] == [rate, rate, 10, 10]
    assert len(lines) == 8

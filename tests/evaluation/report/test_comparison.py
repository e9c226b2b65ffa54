"""Differences between models equal those of a loop over the draws."""

import statistics
from dataclasses import replace

import numpy as np
import pytest

from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.report.comparison import comparison


def scored(value: float, draws: np.ndarray | None, *, name: str = "set", sample: str = "ab" * 32) -> SetScores:
    return SetScores(
        "probes", name, {"map": value}, {} if draws is None else {"map": draws}, {"recordings": 9}, sample_sha256=sample
    )


def test_a_difference_has_the_interval_of_the_differences_of_each_draw() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, 400)
    ours, theirs = 0.5 + common, 0.7 + common + rng.normal(0, 0.01, 400)
    (row,) = comparison({"ours": [scored(0.5, ours)], "theirs": [scored(0.7, theirs)]})
    assert (row["section"], row["set"], row["score"]) == ("probes", "set", "map")
    assert row["values"] == {"ours": 0.5, "theirs": 0.7}
    found = row["differences"]["theirs"]
    assert found["difference"] == pytest.approx(0.2)
    differences = [second - first for first, second in zip(ours.tolist(), theirs.tolist(), strict=True)]
    naive = sorted(each - statistics.mean(differences) + 0.2 for each in differences)
    # percentiles of 400 values lie between the 10th and 11th from either end; drawn values are next to them
    low, high = found["interval"]
    assert naive[7] <= low <= naive[12]
    assert naive[-13] <= high <= naive[-8]
    assert high - low < 0.1, "unpaired draws would give an interval a hundred times as wide"


def test_draws_of_other_recordings_are_no_pairs() -> None:
    draws = np.linspace(0, 1, 50)
    base = scored(0.5, draws)
    for other in (scored(0.6, draws, sample="cd" * 32), scored(0.6, draws[:40]), scored(0.6, None)):
        (row,) = comparison({"a": [base], "b": [other]})
        assert row["differences"]["b"] == {"difference": pytest.approx(0.1), "interval": None}
    unknown = [scored(value, draws, sample="") for value in (0.5, 0.6)]
    (row,) = comparison({"a": unknown[:1], "b": unknown[1:]})
    assert row["differences"]["b"]["interval"] is None, "what is unknown may differ"


def test_scores_of_one_model_are_not_compared_and_those_the_first_lacks_have_no_difference() -> None:
    common, lone = scored(0.5, None), scored(0.4, None, name="lone")
    rows = comparison({"a": [common], "b": [common, lone], "c": [lone]})
    assert [(row["set"], list(row["values"]), list(row["differences"])) for row in rows] == [
        ("set", ["a", "b"], ["b"]),
        ("lone", ["b", "c"], []),
    ]


def test_undefined_scores_have_undefined_differences() -> None:
    nothing = np.full(5, np.nan)
    (row,) = comparison({"a": [scored(np.nan, nothing)], "b": [replace(scored(0.5, nothing))]})
    found = row["differences"]["b"]
    assert np.isnan(found["difference"])
    assert found["interval"] is None

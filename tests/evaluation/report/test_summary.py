"""``report.json`` has the measured values at stated paths, with intervals, and nothing that JSON lacks."""

import json
import statistics
from itertools import pairwise

import numpy as np
import pytest

from mulan.evaluation.protocols.protocol import SECTIONS, SetScores
from mulan.evaluation.published import PublishedFigure
from mulan.evaluation.report.summary import scores_of, section_of, summarize, to_json, without_nan
from tests.evaluation.report.planted_report import MODELS, encoder_info, planted_scores, planted_tasks

SCORES = planted_scores()
FIGURE = PublishedFigure("probes", "instrument", "roc_auc", "Other", 0.9, "Paper, table 1", "a probe", "other split")


@pytest.fixture(scope="module")
def report() -> dict:
    figures = (FIGURE, PublishedFigure("probes", "genre", "roc_auc", "Other", 0.9, "Paper", "a probe"))
    models = [encoder_info(name) for name in MODELS]
    return json.loads(
        to_json(summarize(SCORES, models=models, tasks=planted_tasks(), published=figures, seconds={"embed": 1.5}))
    )


def test_scores_are_numbers_at_the_path_of_section_set_and_score(report: dict) -> None:
    assert report["probes"]["instrument"]["roc_auc"] == pytest.approx(0.82)
    assert report["retrieval"]["captions"]["song_describer"]["recall10"] == 0.8
    assert report["retrieval"]["playlists"]["titles"]["map"] == pytest.approx(0.08)
    for each in SCORES[MODELS[0]]:
        found = section_of(report, each.section)[each.name]
        assert scores_of(found) == {score: None if np.isnan(value) else value for score, value in each.scores.items()}
        assert (found["counts"], found["protocol"]) == (dict(each.counts), each.protocol)


def test_intervals_contain_95_percent_of_the_draws(report: dict) -> None:
    for each in SCORES[MODELS[0]]:
        intervals = section_of(report, each.section)[each.name]["intervals"]
        assert set(intervals) == set(each.draws)
        for score, (low, high) in intervals.items():
            drawn = each.draws[score].tolist()
            draws = sorted(draw - statistics.mean(drawn) + each.scores[score] for draw in drawn)
            assert len(draws) == 200
            # the ends are drawn values, at most half the distance of two neighbours from the percentiles
            gap = max(second - first for first, second in pairwise(sorted(drawn)))
            assert draws[4] - gap / 2 <= low <= draws[5] + gap / 2
            assert draws[-6] - gap / 2 <= high <= draws[-5] + gap / 2
            assert {low, high} <= {*drawn, each.scores[score]}


def test_other_models_have_the_same_sections_by_name(report: dict) -> None:
    assert [model["name"] for model in report["models"]] == list(MODELS)
    assert list(report["others"]) == list(MODELS[1:])
    for name, sections in report["others"].items():
        for section in SECTIONS:
            expected = {each.name for each in SCORES[name] if each.section == section}
            assert set(section_of(sections, section)) == expected
    rows = {(row["set"], row["score"]): row for row in report["comparison"]}
    gtzan = rows["gtzan", "accuracy"]
    assert set(gtzan["values"]) == {MODELS[0], MODELS[2]}
    assert gtzan["differences"][MODELS[2]]["difference"] == pytest.approx(-0.3)
    low, high = gtzan["differences"][MODELS[2]]["interval"]
    assert low < -0.3 < high


def test_published_figures_are_beside_ours_where_we_have_a_score(report: dict) -> None:
    (row,) = report["published"]
    assert row == {
        "section": "probes", "set": "instrument", "score": "roc_auc",
        "ours": {MODELS[0]: pytest.approx(0.82), MODELS[1]: pytest.approx(0.7)}, "model": "Other",
        "value": 0.9, "source": "Paper, table 1", "protocol": "a probe", "difference": "other split",
        "is_comparable": False,
    }  # fmt: skip


def test_figures_say_what_ours_was_not_measured_on_and_stand_beside_any_model() -> None:
    figure = PublishedFigure("probes", "set", "accuracy", "Other", 0.9, "Paper", "a probe", recordings=40)

    def row(**recordings: int) -> dict:
        scores = {name: [SetScores("probes", "set", {"accuracy": 0.5}, {}, {"recordings": count})]
                  for name, count in recordings.items()}  # fmt: skip
        models = [encoder_info(name) for name in ("first", "second")]
        (found,) = summarize(scores, models=models, tasks=[], published=[figure])["published"]
        return found

    assert (row(second=40)["ours"], row(second=40)["is_comparable"]) == ({"second": 0.5}, True)
    assert row(first=40, second=40)["difference"] == ""
    assert row(first=39, second=39)["difference"] == "ours is of 39 recordings, not 40"
    few = row(first=40, second=39)
    assert (few["difference"], few["is_comparable"]) == ("ours is of 39 recordings, not 40 (second)", False)


def test_tasks_state_corpora_and_what_was_left_out(report: dict) -> None:
    mtat, triplets = report["tasks"]
    assert (mtat["corpus"], mtat["index_sha256"]) == ("s3://corpora/mtat", "fe" * 32)
    assert mtat["recordings"][MODELS[0]] == {"test": 5329, "train": 18_706}
    assert mtat["recordings"][MODELS[2]] == {"test": 17}
    assert {model: len(skipped) for model, skipped in mtat["skipped"].items()} == {MODELS[0]: 31}
    (entry,) = mtat["left_out"]
    assert entry == {
        "model": "log_mel", "what": "zero shot tagging mtat_top50",
        "reason": "it embeds no text, which zero-shot tagging needs",
    }  # fmt: skip
    assert triplets["recordings"] == {}
    assert report["seconds"] == {"embed": 1.5}
    assert {"mulan", "numpy", "torch"} <= set(report["versions"])


def test_undefined_numbers_are_null_wherever_they_are(report: dict) -> None:
    assert report["probes"]["instrument"]["map"] is None
    odd = {"a": [np.float64("nan"), (float("inf"), np.int64(3))], "b": np.array([1.0, np.nan]), 5: np.True_}
    assert without_nan(odd) == {"a": [None, [None, 3]], "b": [1.0, None], "5": True}


def test_a_report_of_nothing_has_all_sections() -> None:
    summary = summarize({}, models=[encoder_info("one")], tasks=[])
    assert all(section_of(summary, section) == {} for section in SECTIONS)
    assert (summary["others"], summary["comparison"], summary["published"]) == ({}, [], [])


def test_equal_results_give_equal_text() -> None:
    texts = {
        to_json(summarize(planted_scores(), models=[encoder_info(name) for name in MODELS], tasks=planted_tasks()))
        for _ in range(2)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "sets",
    [
        [SetScores("probes", "x", {"a": 1.0}), SetScores("probes", "x", {"a": 2.0})],
        [SetScores("probes", "x", {"counts": 1.0})],
        [SetScores("probe", "x", {"a": 1.0})],
    ],
)
def test_scores_that_would_overwrite_others_or_vanish_are_a_fault(sets: list[SetScores]) -> None:
    with pytest.raises(AssertionError):
        summarize({"one": sets}, models=[encoder_info("one")], tasks=[])

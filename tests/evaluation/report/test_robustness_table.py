"""Scores on corrupted recordings are in a row for each corruption, with a column for each strength."""

from typing import Any

from mulan.evaluation.report.robustness_table import robustness_tables
from mulan.evaluation.report.summary import summarize
from tests.evaluation.report.planted_report import MODELS, encoder_info, planted_scores


def summary(*models: str) -> dict[str, Any]:
    return summarize(planted_scores(models), models=[encoder_info(name) for name in models], tasks=[])


def test_each_corruption_has_a_row_with_the_score_of_each_strength() -> None:
    found = summary(MODELS[0])
    (table,) = robustness_tables(found)
    assert table.title == "Zero-shot tagging: mtat_top50_tagged, ROC-AUC"
    assert table.chance == "0.500"
    assert [(row.corruption, row.model) for row in table.rows] == [("low-pass", ""), ("noise", "")]
    for row in table.rows:
        scores = found["robustness"][f"zero_shot.mtat_top50_tagged.{row.corruption}"]
        assert row.scores == tuple(f"{scores[f'strength_{strength}']:.3f}" for strength in range(6))


def test_models_are_beside_each_other_under_each_corruption() -> None:
    (table,) = robustness_tables(summary(*MODELS[:2]))
    assert [(row.corruption, row.model) for row in table.rows] == [
        (corruption, model) for corruption in ("low-pass", "noise") for model in MODELS[:2]
    ]


def test_without_scores_there_is_no_table() -> None:
    assert robustness_tables(summarize({"one": []}, models=[encoder_info("one")], tasks=[])) == []

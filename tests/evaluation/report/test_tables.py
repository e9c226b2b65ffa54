"""Tables show the values of ``report.json``, name what is better, and put published figures beside ours."""

from typing import Any

import pytest

from mulan.evaluation.published import PublishedFigure
from mulan.evaluation.report.summary import summarize
from mulan.evaluation.report.tables import BETTER, UNCLEAR, WORSE, SectionTable, section_tables
from tests.evaluation.report.planted_report import MODELS, encoder_info, planted_scores, planted_tasks

FIGURES = tuple(
    PublishedFigure("zero_shot", "mtat_top50_annotated", "roc_auc", model, value, "Paper", protocol, difference)
    for model, value, protocol, difference in (
        ("A", 0.95, "on 4,332 clips", "clips without a tag are left out"),
        ("B", 0.7, "as here", ""),
        ("C", 0.8, "as here", ""),
    )
)


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    models = [encoder_info(name) for name in MODELS]
    return summarize(planted_scores(), models=models, tasks=planted_tasks(), published=FIGURES)


@pytest.fixture(scope="module")
def tables(summary: dict[str, Any]) -> dict[str, SectionTable]:
    return {table.key: table for table in section_tables(summary)}


def test_rows_have_value_interval_and_chance(tables: dict[str, SectionTable], summary: dict[str, Any]) -> None:
    found, *_ = tables["zero_shot"].sets
    auc, precision = found.rows
    low, high = summary["zero_shot"]["mtat_top50_annotated"]["intervals"]["roc_auc"]
    assert (auc.label, auc.value, auc.interval, auc.chance) == (
        "ROC-AUC",
        "0.820",
        f"{low:.3f}\N{EN DASH}{high:.3f}",
        "0.500",
    )
    assert (precision.label, precision.value, precision.chance) == ("mAP", "0.290", "0.053")
    assert found.counts == "5,329 recordings, 10 tags, 14,150 positives"


def test_a_model_without_scores_in_a_section_has_no_column_and_missing_scores_are_a_dash(
    tables: dict[str, SectionTable],
) -> None:
    assert tables["zero_shot"].others == MODELS[1:]
    assert tables["probes"].others == MODELS[1:2]
    gtzan = tables["zero_shot"].sets[2].rows[0]
    assert [other.value for other in gtzan.others] == ["\N{EN DASH}", "0.200"]
    assert gtzan.others[0].difference == gtzan.others[0].interval == ""
    assert not tables["retrieval.playlists"].has_intervals
    assert not tables["retrieval.playlists"].has_chance
    assert tables["zero_shot"].has_intervals


def test_differences_say_what_is_better_also_where_low_is_good() -> None:
    def marks(names: tuple[str, ...]) -> dict[str, str]:
        scores = {name: planted_scores()[name] for name in names}
        made = summarize(scores, models=[encoder_info(name) for name in names], tasks=[])
        (captions,) = (table for table in section_tables(made) if table.key == "retrieval.captions")
        return {row.label: row.others[0].difference for row in captions.sets[0].rows}

    worse, better = marks(MODELS[:2]), marks((MODELS[1], MODELS[0]))
    assert worse == {"R@10": f"\N{MINUS SIGN}0.300 {WORSE}", "median rank": f"+30.0 {WORSE}"}
    assert better == {"R@10": f"+0.300 {BETTER}", "median rank": f"\N{MINUS SIGN}30.0 {BETTER}"}


def test_a_difference_whose_interval_contains_0_is_unclear() -> None:
    scores = {"a": planted_scores()[MODELS[0]], "b": planted_scores()[MODELS[0]]}
    made = summarize(scores, models=[encoder_info(name) for name in scores], tasks=[])
    row = section_tables(made)[0].sets[0].rows[0]
    assert row.others[0].difference == f"0.000 {UNCLEAR}"


def test_comparable_figures_come_first_and_reasons_are_notes(tables: dict[str, SectionTable]) -> None:
    table = tables["zero_shot"]
    (group,) = table.published
    assert (group.set_name, group.label, group.ours) == (
        "mtat_top50_annotated",
        "ROC-AUC",
        f"0.820 of {MODELS[0]}, 0.700 of {MODELS[1]}, 0.580 of {MODELS[2]}",
    )
    assert [(row.model, row.value, row.is_comparable, row.note) for row in group.rows] == [
        ("C", "0.800", True, 1),
        ("B", "0.700", True, 1),
        ("A", "0.950", False, 2),
    ]
    assert table.notes == (
        "Paper: as here.",
        "Paper: on 4,332 clips. Not measured as ours: clips without a tag are left out.",
    )
    assert table.num_published == 3
    assert table.sets[0].rows[0].published == "0.800 = C"
    assert table.sets[1].rows[0].published == ""


def test_sets_of_one_protocol_share_its_sentence(tables: dict[str, SectionTable]) -> None:
    assert tables["robustness"].protocols == (
        ("Corrupted recordings.", tuple(f"zero_shot.mtat_top50_tagged.{name}" for name in ("low-pass", "noise"))),
    )
    assert tables["retrieval.playlists"].protocols == ()

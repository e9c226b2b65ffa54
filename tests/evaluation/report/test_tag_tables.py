"""Tags are sorted, the worst and the negating ones are named, and further models are beside the first."""

from typing import Any

import pytest

from mulan.evaluation.report.summary import summarize
from mulan.evaluation.report.tag_tables import MARKERS, tag_tables
from tests.evaluation.report.planted_report import MODELS, ODD, TAGS, encoder_info, planted_scores


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summarize(planted_scores(), models=[encoder_info(name) for name in MODELS], tasks=[])


def test_tags_are_sorted_with_intervals_beside_those_of_other_models(summary: dict[str, Any]) -> None:
    first, second = tag_tables(summary)
    assert (first.set_name, second.set_name) == ("mtat_top50_annotated", "mtat_top50_tagged")
    assert {row.tag for row in first.rows} == set(TAGS)
    values = [row.roc_auc for row in first.rows]
    assert values == sorted(values, reverse=True)
    assert first.others == tuple(zip(MODELS[1:], MARKERS[:2], strict=True))
    rows = {row.tag: row for row in first.rows}
    others = [summary["others"][name]["zero_shot"]["mtat_top50_annotated"]["details"]["tags"] for name in MODELS[1:]]
    for number, tag in enumerate(TAGS):
        assert rows[tag].others == tuple(tags[number]["roc_auc"] for tags in others)
        assert rows[tag].interval == pytest.approx((rows[tag].roc_auc - 0.05, min(rows[tag].roc_auc + 0.05, 1)))
        assert rows[tag].positives == 50 + number


def test_the_worst_tags_and_negations_are_named(summary: dict[str, Any]) -> None:
    first, _ = tag_tables(summary)
    assert first.worst == "guitar 0.520, vocals 0.570, no vocals 0.620"
    assert first.negations == (
        "“vocals” 0.700, “no vocals” \N{EN DASH}; the cosine similarity of their prompts is 0.970",
    )
    assert first.unscored == f"never {ODD}"


def test_tags_of_several_categories_are_shown_with_them_and_undefined_ones_last() -> None:
    found = planted_scores(MODELS[:1])
    rows = found[MODELS[0]][0].details["tags"]
    rows[0] |= {"tag": "mood:calm", "roc_auc": float("nan"), "roc_auc_interval": None}
    first, _ = tag_tables(summarize(found, models=[encoder_info(MODELS[0])], tasks=[]))
    assert first.rows[0].tag == "mtat:sitar"
    assert (first.rows[-1].tag, first.rows[-1].roc_auc, first.rows[-1].interval) == ("mood:calm", None, None)
    assert first.others == ()


def test_sets_without_tags_have_no_table() -> None:
    found = {"one": [each for each in planted_scores()[MODELS[0]] if each.section != "zero_shot"]}
    assert list(tag_tables(summarize(found, models=[encoder_info("one")], tasks=[]))) == []

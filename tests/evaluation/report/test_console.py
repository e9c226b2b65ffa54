"""The printed results are plain text without a terminal, and name what was left out."""

import io
from typing import Any

import pytest
from rich.console import Console

from mulan.evaluation.report.console import print_report
from mulan.evaluation.report.summary import summarize
from tests.evaluation.report.planted_report import MODELS, ODD, encoder_info, planted_scores, planted_tasks


def printed(summary: dict[str, Any], uri: str = "report.html", *, width: int = 160) -> str:
    stream = io.StringIO()
    print_report(summary, uri, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summarize(planted_scores(), models=[encoder_info(name) for name in MODELS], tasks=planted_tasks())


def test_every_score_is_printed_as_plain_text(summary: dict[str, Any]) -> None:
    text = printed(summary)
    assert "\x1b" not in text
    for row in summary["comparison"]:
        digits = 1 if row["score"] == "median_rank" else 3
        if row["score"] != "prevalence":
            named = row["set"].split(".") if row["section"] == "robustness" else [row["set"]]
            assert named[-1] in text
            assert all(f"{value:.{digits}f}" in text for value in row["values"].values() if value is not None)
    assert "\N{MINUS SIGN}0.120 ▼ worse" in text
    assert "nan" not in text
    assert ODD in text, "names are no markup"


def test_what_was_left_out_and_skipped_is_named_in_whole_lines(summary: dict[str, Any]) -> None:
    text = printed(summary, "runs/" + "x" * 100 + "/report.html", width=60)
    lines = text.splitlines()
    assert (
        "mtat: log_mel has no zero shot tagging mtat_top50: it embeds no text, which zero-shot tagging needs" in lines
    )
    assert f"report: runs/{'x' * 100}/report.html" in lines
    skipped = next(line for line in lines if line.startswith("mtat: skipped recordings: "))
    assert skipped.endswith(" and 11 more")


def test_many_sets_are_bounded(summary: dict[str, Any]) -> None:
    found = planted_scores(MODELS[:1])[MODELS[0]]
    many = [each for each in found if each.section == "triplets"]
    sets = [type(many[0])("triplets", f"set-{number:02d}", {"accuracy": 0.5}) for number in range(30)]
    text = printed(summarize({"one": sets}, models=[encoder_info("one")], tasks=[]))
    assert "set-23" in text
    assert "set-24" not in text
    assert "6 more sets are in the report" in text

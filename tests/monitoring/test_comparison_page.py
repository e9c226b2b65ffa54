"""Tests the page that compares runs."""

import re
from pathlib import Path

from mulan.monitoring.comparison import read_runs
from mulan.monitoring.comparison_page import comparison_page
from mulan.monitoring.status import run_status
from tests.monitoring.planted import planted
from tests.monitoring.test_comparison import evaluated, report_of, scores


def test_the_page_has_all_parts_and_fetches_nothing(tmp_path: Path) -> None:
    statuses = [
        evaluated(str(tmp_path), "one", report_of({"genre": scores(roc_auc=0.75)})),
        evaluated(str(tmp_path), "two", report_of({"genre": scores("b", roc_auc=0.5)}), "optim.lr=0.5"),
        evaluated(str(tmp_path), "three", None, "text_tower.prefix=<b>x</b>"),
    ]
    page = comparison_page(read_runs(statuses), now=0.0)
    text = re.sub(r"<[^>]*>|\s+", " ", page)
    for part in (
        "optim.lr",
        "0.750 ★",
        "ROC-AUC ≠",
        "chance 0.500",
        "three : not evaluated.",
        "1970-01-01 00:00:00 UTC",
    ):
        assert part in text
    assert page.count('<th class="run">') == 3 * 3  # of recipes, facts and scores
    assert page.count("<img") == 6
    assert "&lt;b&gt;x" in page and "<b>x" not in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", page) == []


def test_equal_recipes_and_runs_without_steps(tmp_path: Path) -> None:
    runs = read_runs([run_status(planted(str(tmp_path), name)) for name in ("one", "two")])
    page = comparison_page(runs, now=0.0)
    assert "The recipes are the same." in page and "<img" not in page
    assert "There is one run." in comparison_page(runs[:1], now=0.0)

"""Tests the application of rules: their order, repetition, splits, removals and counts, and what is tidied."""

import re

import pytest

from mulan.data.text import MAX_CHARACTERS
from mulan.preparation.texts.report import FilterReport
from mulan.preparation.texts.rule import Rule, TextContext, apply_rules, tidied, without

CONTEXT = TextContext()
SHORTEN = Rule("shorten", "aa as a", lambda text, context: [text.replace("aa", "a")])
SPLIT = Rule("split", "parts at slashes", lambda text, context: text.split("/", 1))
DROP = Rule("drop", "no x, and blank without y", lambda text, context: [] if "x" in text else [text.replace("y", "")])


def counts(report: FilterReport) -> dict[str, tuple[int, int, int]]:
    return {name: (rule.texts, rule.changed, rule.removed) for name, rule in report.rules.items()}


def test_rules_are_repeated_until_nothing_changes() -> None:
    report = FilterReport()
    assert apply_rules("baaaaaaaab", [SHORTEN], CONTEXT, report) == ["bab"]
    assert counts(report) == {"shorten": (1, 1, 0)}  # once, although it was applied four times


def test_the_parts_of_a_split_text_keep_their_order_and_pass_all_rules() -> None:
    report = FilterReport()
    assert apply_rules("baa/caaa/x/d", [SHORTEN, SPLIT, DROP], CONTEXT, report) == ["ba", "ca", "d"]
    assert counts(report) == {"shorten": (1, 1, 0), "split": (1, 1, 0), "drop": (1, 0, 1)}


def test_rules_after_a_removal_do_not_see_the_text() -> None:
    report = FilterReport()
    assert apply_rules("ax", [DROP, SHORTEN], CONTEXT, report) == []
    assert counts(report) == {"drop": (1, 0, 1)}


def test_a_rule_that_leaves_a_blank_text_removes_it() -> None:
    report = FilterReport()
    assert apply_rules("y y", [DROP, SHORTEN], CONTEXT, report) == []
    assert counts(report) == {"drop": (1, 0, 1)}
    assert report.as_json()["drop"]["samples"] == [{"before": "y y", "after": []}]


def test_a_text_that_no_rule_concerns_is_unchanged() -> None:
    report = FilterReport()
    assert apply_rules(" b \n", [SHORTEN, SPLIT, DROP], CONTEXT, report) == [" b \n"]
    assert counts(report) == {"shorten": (1, 0, 0), "split": (1, 0, 0), "drop": (1, 0, 0)}
    assert apply_rules(" b ", [], CONTEXT, report) == [" b "]


def test_only_the_beginning_of_a_very_long_text_is_read() -> None:
    assert apply_rules("b" * MAX_CHARACTERS + "x", [DROP], CONTEXT, FilterReport()) == ["b" * MAX_CHARACTERS]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Song ( )", "Song"),
        ("Song ([ ]) now", "Song now"),
        ("Song - ", "Song"),
        ("| Song | | Mix", "Song | Mix"),
        ("Song - - Mix", "Song - Mix"),
        ("so  good , really", "so good, really"),
        ("- one\n | \n two -", "one\ntwo"),
        ("Drum & Bass", "Drum & Bass"),
        ("C# minor", "C# minor"),
        ("Why? (not)", "Why? (not)"),
    ],
)
def test_what_enclosed_a_removed_part_is_removed(text: str, expected: str) -> None:
    assert tidied(text) == expected
    assert tidied(expected) == expected


def test_texts_without_a_match_are_not_tidied() -> None:
    assert without(re.compile("x"), " - a ()") == " - a ()"
    assert without(re.compile("x"), " - a (x)") == "a"

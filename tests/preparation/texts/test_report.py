"""Tests the report of filters: its counts, and samples that do not depend on the order of texts."""

import json

from mulan.preparation.texts.report import MAX_SAMPLES, FilterReport

TEXTS = [f"text {number}" for number in range(50)]


def report_of(texts: list[str]) -> FilterReport:
    report = FilterReport()
    for text in texts:
        counts = report.of("rule")
        counts.texts += 1
        counts.changed += 1
        report.sample("rule", text, [text.upper()])
    return report


def test_the_report_does_not_depend_on_the_order_of_the_texts() -> None:
    whole = report_of(TEXTS).as_json()
    assert (whole["rule"]["texts"], whole["rule"]["changed"], whole["rule"]["removed"]) == (50, 50, 0)
    assert report_of(TEXTS[::-1]).as_json() == whole
    assert [sample["before"] for sample in whole["rule"]["samples"]] != TEXTS[:MAX_SAMPLES]


def test_samples_are_few_and_show_what_happened() -> None:
    samples = report_of(TEXTS).as_json()["rule"]["samples"]
    assert len(samples) == MAX_SAMPLES
    assert {sample["before"] for sample in samples} <= {*TEXTS}
    assert all(sample["after"] == [sample["before"].upper()] for sample in samples)
    assert report_of(["a"] * 5).as_json()["rule"]["samples"] == [{"before": "a", "after": ["A"]}]


def test_samples_are_short_lines_of_valid_unicode() -> None:
    report = FilterReport()
    report.sample("rule", "a\nb\ud800" + "c" * 1000, [])
    (sample,) = report.as_json()["rule"]["samples"]
    assert sample["before"].startswith("a b\\ud800ccc")
    assert len(sample["before"]) < 300
    assert json.dumps(report.as_json(), ensure_ascii=False).encode()

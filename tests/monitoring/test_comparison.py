"""Tests what is compared: fields that differ, facts, and evaluations side by side."""

import json
from pathlib import Path
from typing import Any

import pytest

from mulan.config.errors import SeveralErrors
from mulan.evaluation.protocols.protocol import SECTIONS
from mulan.monitoring.comparison import (
    NONE,
    Cell,
    differing_rows,
    evaluation_tables,
    fact_rows,
    read_runs,
)
from mulan.monitoring.status import RunStatus, run_status
from mulan.runs.run import Run
from mulan.storage import filesystem
from tests.monitoring.planted import lease, planted


def report_of(sets: dict[str, dict[str, Any]], section: str = "zero_shot", *, steps: int = 20) -> dict[str, Any]:
    """Returns the content of a report.json with these sets in one section."""
    report: dict[str, Any] = {"training": {"steps": steps}}
    for each in SECTIONS:
        *parents, last = each.split(".")
        node = report
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = sets if each == section else {}
    return report


def scores(sample: str = "same", **values: float | None) -> dict[str, Any]:
    intervals = {name: [value - 0.1, value + 0.1] for name, value in values.items() if value is not None}
    chance = {"chance": {"roc_auc": 0.5}}
    return {**values, "intervals": intervals, "counts": {}, "protocol": "", "details": chance, "sample_sha256": sample}


def evaluated(storage_uri: str, name: str, report: Any, *settings: str) -> RunStatus:
    run = planted(storage_uri, name, *settings, steps=5)
    lease(run, released=True)
    if report is not None:
        filesystem.write_atomically(f"{run.uri}/report.json", json.dumps(report).encode())
    return run_status(run)


def test_fields_that_differ_have_the_value_of_every_run(tmp_path: Path) -> None:
    settings = ([], ["optim.lr=0.5"], ["optim.lr=0.5", "train.seed=7"], ["text_tower.pretrained=/x"])
    runs = read_runs([evaluated(str(tmp_path), f"run{n}", None, *each) for n, each in enumerate(settings)])
    rows = differing_rows(runs)
    assert rows.keys() == {"optim.lr", "train.seed", "text_tower.pretrained"}
    assert rows["optim.lr"] == ["0.001", "0.5", "0.5", "0.001"]
    assert rows["train.seed"] == ["0", "0", "7", "0"]
    assert rows["text_tower.pretrained"][3] == "/x"
    assert differing_rows(runs[:1]) == differing_rows([runs[0], runs[0]]) == {}


def test_scores_are_side_by_side_with_the_best_marked(tmp_path: Path) -> None:
    first = report_of({"genre": scores(roc_auc=0.75, map=None), "mood": scores(roc_auc=0.5)})
    second = report_of({"genre": scores(roc_auc=0.625, median_rank=3.0), "other": scores("b", roc_auc=0.9)})
    third = report_of({"genre": scores("another", roc_auc=0.75, median_rank=2.0, prevalence=0.1)})
    statuses = [evaluated(str(tmp_path), f"run{n}", each) for n, each in enumerate([first, second, third, None])]
    (table,) = evaluation_tables(read_runs(statuses))
    rows = {(row.set_name, row.label): row for row in table.rows}
    assert list(rows) == [
        ("genre", "ROC-AUC"),
        ("genre", "mAP"),
        ("genre", "median rank"),
        ("mood", "ROC-AUC"),
        ("other", "ROC-AUC"),
    ]
    genre = rows["genre", "ROC-AUC"]
    assert genre.cells == (
        Cell("0.750", "0.650\N{EN DASH}0.850", True),
        Cell("0.625", "0.525\N{EN DASH}0.725", False),
        Cell("0.750", "0.650\N{EN DASH}0.850", True),
        Cell(NONE, "", False),
    )
    assert genre.chance == "0.500" and not genre.is_same_sample
    ranks = rows["genre", "median rank"]
    assert [cell.is_best for cell in ranks.cells] == [False, False, True, False]  # low ranks are good
    assert [cell.value for cell in rows["genre", "mAP"].cells] == [NONE] * 4
    assert not any(cell.is_best for cell in rows["mood", "ROC-AUC"].cells)  # of one run, none is best
    assert rows["mood", "ROC-AUC"].is_same_sample


@pytest.mark.parametrize(
    "report",
    [[], {}, 3, {"zero_shot": 3}, report_of({"genre": {}}), report_of({"genre": scores() | {"roc_auc": "x"}})],
)
def test_a_damaged_report_is_left_out_and_said(tmp_path: Path, report: Any) -> None:
    runs = read_runs([evaluated(str(tmp_path), "run", report)])
    assert runs[0].report is None
    assert "damaged" in fact_rows(runs, now=0.0)["evaluation"][0]
    assert evaluation_tables(runs) == []


def test_facts_of_runs_with_and_without_evaluation(tmp_path: Path) -> None:
    one = evaluated(str(tmp_path), "one", report_of({}, steps=4))
    with Run(str(tmp_path), "one").timed("train"):
        pass
    facts = fact_rows(read_runs([one, evaluated(str(tmp_path), "two", None)]), now=2e9)
    assert facts["evaluation"] == ["of step 4", "not evaluated"]
    assert facts["step"] == ["5 of 20", "5 of 20"]
    assert facts["time: train"] == ["0 s", NONE]
    assert all(len(values) == 2 for values in facts.values())


def test_all_damaged_runs_are_named_at_once(tmp_path: Path) -> None:
    runs = [planted(str(tmp_path), name, steps=2) for name in ("one", "two", "three")]
    Path(runs[0].recipe_uri).write_text("[")
    Path(runs[2].recipe_uri).write_text("[")
    with pytest.raises(SeveralErrors, match=r"(?s)run .*one is damaged.*run .*three is damaged"):
        read_runs([run_status(run) for run in runs])
    Path(runs[1].metrics_uri).write_text("{\n")
    with pytest.raises(Exception, match=r"line 1 of .*two/metrics.jsonl is damaged"):
        read_runs([run_status(runs[1])])

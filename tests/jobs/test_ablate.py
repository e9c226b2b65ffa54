"""Tests text ablations: that wrong requests are refused before anything is started, and a whole one on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mulan.runs.run import Run
from tests.jobs.called import Job, assert_refused

RECIPE = ("--recipe", "m_resnet50_miniature")


def test_what_is_no_ablation_is_refused(job: Job, tiny_corpus: str) -> None:
    data = ("--data", tiny_corpus, "--task", "tags")
    assert_refused(job("ablate", "--recipe", "demo", *data), "recipe demo: has no text ablations; those that have are")
    assert_refused(job("ablate", *RECIPE, "--task", "tags"), "names no corpus")
    assert_refused(job("ablate", *RECIPE, *data, "--set", "data.source_ratio.playlist=2"), "the variants differ by it")
    assert_refused(job("ablate", *RECIPE, *data, "--task", "tag"), "there is no task 'tag'; did you mean tags?")
    assert_refused(job("ablate", *RECIPE, *data, "--name", "a/b"), "--name 'a/b'")
    assert_refused(job("ablate", *RECIPE, "--task", "tags", "--data", "/nowhere/tones"), "corpus /nowhere/tones")
    for words in (["--only", "aset", "--collect"], ["--only", "asset"]):
        code, out, err = job("ablate", *RECIPE, *data, *words)
        assert (code, out) == (2, "")
        assert "not allowed with" in err or "invalid choice: 'asset'" in err


def test_a_dry_run_says_what_would_be_trained_and_what_cannot_be(
    job: Job, tiny_corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    code, out, err = job("ablate", *RECIPE, "--data", tiny_corpus, "--task", "tags", "--dry-run", "--name", "a")
    assert code == 2, "the corpus has no unfiltered texts"
    lines = out.splitlines()
    assert lines[0] == f"full  ASET + SF + LF + PL: 6 steps are to be trained; {tmp_path}/runs/a/full"
    assert [line.partition(" ")[0] for line in lines[:5]] == ["full", "aset_sf_lf", "aset_sf", "aset", "unfiltered"]
    assert lines[4].startswith("unfiltered  SF/LF unfiltered: missing: ")
    assert lines[-3:] == [
        "train  24 steps of 4 variants",
        f"evaluate  tags: Tags of the corpus, {tiny_corpus}",
        f"report  {tmp_path}/runs/a/report",
    ]
    assert err.startswith("error: 1 of 5 variants are missing:\n  - unfiltered: ")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_collect_is_refused_with_the_runs_that_are_missing(job: Job, tiny_corpus: str) -> None:
    result = job("ablate", *RECIPE, "--task", f"tags={tiny_corpus}", "--collect")
    assert_refused(result, "no variant can be evaluated", "- full: ", "runs/ablation/full has no exported model")


def ablate(folder: Path, corpus: str, *arguments: str) -> tuple[int, str, str]:
    settings = ["train.steps=2", "train.validation_micro_batches=0", "scale.workers=1"]
    words = [word for setting in settings for word in ("--set", setting)]
    where = ["--data", corpus, "--storage", str(folder), "--name", "a"]
    command = [sys.executable, "-m", "jobs.ablate", *RECIPE, *where, *words, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.long(group="jobs")
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_variants_are_trained_once_and_reported_together(tiny_corpus: str, tmp_path: Path) -> None:
    only = [word for name in ("full", "aset", "unfiltered") for word in ("--only", name)]
    code, out, err = ablate(tmp_path, tiny_corpus, *only, "--task", "tags", "--task", "triplets")
    assert code == 2, out + err
    assert err.startswith("error: 1 of 5 variants are missing:\n  - unfiltered: ")
    report_uri = tmp_path / "a" / "report"
    report = json.loads((report_uri / "report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["full", "aset"]
    variants = {each["name"]: each for each in report["ablation"]["variants"]}
    assert {name: each["steps"] for name, each in variants.items() if not each["missing"]} == {"full": 2, "aset": 2}
    assert "has no exported model, 2 steps are to be trained" in variants["aset_sf"]["missing"]
    tables = {each["title"]: each for each in report["ablation"]["tables"]}
    (place,) = (
        n for n, each in enumerate(tables["Zero-shot tagging, other sets"]["columns"]) if each["set"] == "pitch"
    )
    column = [row["cells"][place]["ours"] for row in tables["Zero-shot tagging, other sets"]["rows"]]
    assert column == [
        report["zero_shot"]["pitch"]["roc_auc"],
        None,
        None,
        report["others"]["aset"]["zero_shot"]["pitch"]["roc_auc"],
        None,
    ]
    assert "Zero-shot tagging, other sets" in out
    assert '<h2 id="ablation">' in (report_uri / "report.html").read_text()
    metrics = {name: Path(Run.at(tmp_path / "a", name).metrics_uri).read_text() for name in ("full", "aset")}

    code, out, err = ablate(tmp_path, tiny_corpus, *only[:4], "--task", "tags", "--task", "triplets")
    assert code == 0, out + err
    assert "to train" not in out
    assert {name: Path(Run.at(tmp_path / "a", name).metrics_uri).read_text() for name in metrics} == metrics
    again = json.loads((report_uri / "report.json").read_text())
    assert again["ablation"]["tables"] == report["ablation"]["tables"]

    (tmp_path / "a" / "aset" / "model" / "config.json").write_text("{}")
    code, out, err = ablate(tmp_path, tiny_corpus, "--collect", "--task", "triplets", "--out", str(tmp_path / "other"))
    assert code == 2
    assert "- aset: model " in err and "config.json" in err
    collected = json.loads((tmp_path / "other" / "report.json").read_text())
    assert collected["triplets"] == report["triplets"]
    assert [each["name"] for each in collected["ablation"]["variants"] if not each["missing"]] == ["full"]

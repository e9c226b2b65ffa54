"""Tests the command that trains a filter of texts: what it prints and writes, and what it refuses."""

from pathlib import Path

import pytest

from mulan.preparation.texts.classifier import TextClassifier
from tests.jobs.called import Job, assert_refused
from tests.preparation.texts.small_bert import save_small_bert

MUSIC = ["a slow waltz with strings", "heavy drums and a loud guitar", "soft piano chords", "a groovy bass line"]
OTHER = ["see you next week", "who is here in 2024", "my dog is asleep", "where is the link"]
SMALL = ["--pretrained", "bert", "--folds", "2", "--epochs", "3", "--batch-size", "4", "--learning-rate", "0.001"]


def labels(folder: Path) -> str:
    rows = [f"{text},1" for text in MUSIC] + [f"{text},0" for text in OTHER]
    (folder / "labels.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return str(folder / "labels.csv")


def test_a_filter_is_trained_and_saved(job: Job, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = labels(tmp_path)
    save_small_bert(tmp_path / "bert")
    capsys.readouterr()
    code, out, err = job("train_text_filter", "--labels", table, "--out", "filter", "--precision", "0.1", *SMALL)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:4] == [
        "labels  4 texts describe music, 4 do not",
        "fold 1 of 2: 4 texts classified",
        "fold 2 of 2: 4 texts classified",
        "fold    texts  precision  recall",
    ]
    assert lines[6].startswith("all         8")
    classifier = TextClassifier.load("filter")
    assert lines[7:] == [f"threshold  {classifier.threshold:.4f}", f"filter  {tmp_path}/filter"]
    assert len(classifier.keep(MUSIC)) == 4
    code, out, err = job("train_text_filter", "--labels", table, "--out", "filter", *SMALL)
    assert (code, out) == (2, "")
    assert err == f"error: --out {tmp_path}/filter is not empty; name a new folder, or remove that one\n"


def test_a_dry_run_checks_only(job: Job, tmp_path: Path) -> None:
    table = labels(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = job("train_text_filter", "--labels", table, "--out", "filter", "--folds", "2", "--dry-run")
    assert result == (0, "labels  4 texts describe music, 4 do not\n", "")
    assert sorted(tmp_path.rglob("*")) == before


def test_faults_of_labels_are_listed_with_their_lines(job: Job, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("text,label\na,1\n,0\nb,perhaps\n")
    code, out, err = job("train_text_filter", "--labels", "labels.csv", "--out", "filter")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: source --labels {tmp_path}/labels.csv has 2 faults:\n")
    assert "labels.csv, line 3: has no text" in err
    assert "labels.csv, line 4: label 'perhaps' is unknown" in err
    assert not (tmp_path / "filter").exists()


def test_invalid_calls_are_refused(job: Job) -> None:
    assert_refused(job("train_text_filter", "--labels", "none.csv", "--out", "filter"), "there is no file", "none.csv")
    wrong = ["--precision", "1.5", "--folds", "1", "--seed", "-1"]
    result = job("train_text_filter", "--labels", "none.csv", "--out", "filter", *wrong)
    assert_refused(result, "--precision, --folds, --seed: out of range")


def test_too_few_labels_are_refused(job: Job, tmp_path: Path) -> None:
    code, _, err = job("train_text_filter", "--labels", labels(tmp_path), "--out", "filter")
    assert code == 2
    assert "4 texts are labelled music (1); label at least 5" in err


def test_an_encoder_that_does_not_exist_is_refused(job: Job, tmp_path: Path) -> None:
    options = ["--labels", labels(tmp_path), "--out", "filter", "--folds", "2", "--pretrained", "nowhere"]
    code, _, err = job("train_text_filter", *options)
    assert code == 2
    assert "there is no folder" in err
    assert "--pretrained" in err
    assert not (tmp_path / "filter").exists()

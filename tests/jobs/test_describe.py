"""Tests jobs.describe: text, JSON and a page of a corpus."""

import json
from pathlib import Path

from tests.jobs.called import Job, assert_refused


def test_a_corpus_is_described_as_text(job: Job, tiny_corpus: str) -> None:
    code, out, err = job("describe", tiny_corpus)
    assert (code, err) == (0, "")
    assert "48 recordings, 0.04 hours" in out
    assert "  validation: 8 recordings" in out
    assert "short_form" in out
    assert "tags genre (2): drone 24, tone 24" in out


def test_a_corpus_is_described_as_json(job: Job, tiny_corpus: str) -> None:
    code, out, _ = job("describe", tiny_corpus, "--json", "--sample", "4")
    assert code == 0
    assert json.loads(out)["recordings"] == 48


def test_a_page_is_written(job: Job, tiny_corpus: str) -> None:
    code, out, _ = job("describe", tiny_corpus, "--page", "corpus.html")
    assert code == 0
    assert out.splitlines()[-1] == "page: corpus.html"
    assert Path("corpus.html").read_text(encoding="utf-8").count("<audio") == 8


def test_a_folder_without_a_corpus_is_refused(job: Job) -> None:
    assert_refused(job("describe", "nowhere"), "nowhere", "there is no index.parquet")


def test_an_impossible_sample_is_refused(job: Job, tiny_corpus: str) -> None:
    code, _, err = job("describe", tiny_corpus, "--sample", "0")
    assert code == 2
    assert "0 is not at least 1" in err

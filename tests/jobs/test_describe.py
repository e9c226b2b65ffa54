"""Tests jobs.describe: text, JSON and a page of a corpus."""

import json
from pathlib import Path

from mulan.data.corpus.writing import Recording, write_corpus
from tests.jobs.called import Job, assert_refused
from tests.sounds import flac, tone


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


def test_long_texts_and_control_characters_are_shown_in_part(job: Job, tmp_path: Path) -> None:
    text = ":cd: [b]\x1b[31mred\x07 " + "x" * 100_000
    recording = Recording(
        recording_id="a",
        audio=flac(tone(200, 1.0)),
        extension="flac",
        split="train",
        texts={"long_form": [text]},
        tags=[f"genre:{text}"],
        provenance="",
        licence="",
    )
    write_corpus([recording], tmp_path / "corpus")
    code, out, _ = job("describe", "corpus")
    assert code == 0
    assert r"long_form: :cd: [b]\x1b[31mred\x07 xxx" in out
    assert r"tags genre (1): :cd: [b]\x1b[31mred\x07 xxx" in out
    assert max(map(len, out.splitlines())) < 300

"""Tests the page of a corpus: it shows what it is given, escaped, and fetches nothing."""

import re
from dataclasses import replace

import pytest

from mulan.data.corpus.index import Corpus
from mulan.preparation.description import CorpusExample, describe
from mulan.preparation.description_page import MAX_BYTES, readable_size, render_page

EXAMPLE = CorpusExample("<i>one</i>", "flac", b"fLaC", {"short_form": ["<script>alert(1)</script>"]}, ["genre:R&B"])


@pytest.fixture
def description(tiny_corpus: str) -> dict[str, object]:
    return describe(Corpus.open(tiny_corpus), sample=8)[0]


def test_the_page_has_the_numbers_and_the_sounds(description: dict[str, object]) -> None:
    page = render_page(description, [EXAMPLE])
    assert "<b>48</b><small>recordings</small>" in page
    assert 'src="data:audio/flac;base64,ZkxhQw=="' in page
    assert "pitch: 4 different" in page


def test_texts_and_names_are_escaped(description: dict[str, object]) -> None:
    page = render_page(description, [EXAMPLE])
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<i>one</i>" not in page
    assert "genre:R&amp;B" in page


def test_nothing_is_fetched(description: dict[str, object]) -> None:
    page = render_page(description, [EXAMPLE])
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "@import" not in page


@pytest.mark.parametrize("example", [replace(EXAMPLE, extension="wma"), replace(EXAMPLE, audio=b"x" * (MAX_BYTES + 1))])
def test_sounds_that_a_page_cannot_hold_are_named(description: dict[str, object], example: CorpusExample) -> None:
    page = render_page(description, [example])
    assert "<audio" not in page
    assert "is too large for a page or in no format that browsers play" in page


def test_a_corpus_without_texts_and_tags_has_a_page(description: dict[str, object]) -> None:
    page = render_page(description | {"texts": {}, "tags": {}, "languages": {}}, [])
    assert "No recording of the sample has a text" in page


def test_sizes() -> None:
    sizes = [0, 999, 1000, 1_234_567, 999_999, 5 * 10**15]
    assert [readable_size(size) for size in sizes] == ["0 bytes", "999 bytes", "1 kB", "1.23 MB", "1 MB", "5e+03 TB"]

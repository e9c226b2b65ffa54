"""The map names its groups, so that it reads without colours, and is the same in each run."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from mulan.evaluation.report import embedding_map as module
from mulan.evaluation.report.drawing import Picture
from mulan.evaluation.report.embedding_map import embedding_map
from tests.evaluation.report.planted_report import planted_recordings


def words_of(picture: Picture) -> list[str]:
    svg = ElementTree.fromstring(picture.svg)
    for node in svg.iter():
        assert all(not name.endswith("href") or value.startswith("#") for name, value in node.attrib.items())
    return ["".join(node.itertext()).strip() for node in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_genres_are_named_on_the_map_and_in_the_legend() -> None:
    picture = embedding_map(planted_recordings(30), title="GTZAN, small")
    words = words_of(picture)
    for genre in ("ambient", "jazz", "rock", "hip hop $5", "classical"):
        assert words.count(genre) == 2
        assert genre in picture.alt
    assert "GTZAN, small" in words
    assert picture.alt.startswith("GTZAN, small: map of the vectors of 30 recordings, grouped by genre: ")
    assert embedding_map(planted_recordings(30), title="GTZAN, small").svg == picture.svg


def test_without_genres_the_category_of_most_recordings_groups_them_and_without_tags_none() -> None:
    audio = planted_recordings(12)

    def tagged(*tags: str) -> Picture:
        recordings = tuple(replace(each, tags=tags if number else ()) for number, each in enumerate(audio.recordings))
        return embedding_map(replace(audio, recordings=recordings), title="GTZAN, small")

    assert tagged("mood:" + "very " * 9 + "calm").alt.endswith("grouped by mood: very very very very ver….")
    assert tagged().alt == "GTZAN, small: map of the vectors of 12 recordings."


def test_only_the_most_frequent_groups_are_named() -> None:
    audio = planted_recordings(40)
    recordings = tuple(
        replace(each, tags=(f"genre:g{number % 15:02d}",)) for number, each in enumerate(audio.recordings)
    )
    words = words_of(embedding_map(replace(audio, recordings=recordings), title="GTZAN, small"))
    assert {word for word in words if word.startswith("g")} == {f"g{number:02d}" for number in range(10)}


def test_large_corpora_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_POINTS", 20)
    assert embedding_map(planted_recordings(30), title="GTZAN, small").alt.startswith(
        "GTZAN, small: map of the vectors of 20 of 30 recordings"
    )

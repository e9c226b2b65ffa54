"""The overview of an index counts tags, suggests searches, and has a map on which similar recordings are close."""

from pathlib import Path

import numpy as np
import pytest

from mulan.search import summary
from mulan.search.building import add_to_index
from mulan.search.overview import Overview
from tests.search.planted import name_of, planted_vectors, unit, write_planted


def overview(folder: Path, vectors: np.ndarray) -> Overview:
    add_to_index(str(folder / "index"), write_planted(folder / "embeddings", vectors))
    return Overview.read(str(folder / "index"))


def test_tags_are_counted_and_texts_are_made_of_them(tmp_path: Path) -> None:
    found = overview(tmp_path, planted_vectors(31))
    counts = [(each.tag, each.recordings) for each in found.tags]
    assert counts == [("genre:jazz", 16), ("genre:rock", 15), ("mood:it's happy", 11)]
    assert found.examples == ("it's happy jazz", "it's happy rock")
    assert (found.recordings, found.windows) == (31, 93)


def test_similar_recordings_are_close_on_the_map(tmp_path: Path) -> None:
    centres = np.repeat(np.eye(8, dtype=np.float32)[:2], 30, axis=0)
    vectors = unit(centres + 0.05 * planted_vectors(60)).astype(np.float32)
    found = overview(tmp_path, vectors)
    points = np.array([(point.x, point.y) for point in found.map_points])
    assert [point.recording_id for point in found.map_points] == [name_of(row) for row in range(60)]
    one, other = points[:30], points[30:]
    apart = np.linalg.norm(one.mean(axis=0) - other.mean(axis=0))
    assert max(np.linalg.norm(each - each.mean(axis=0), axis=1).max() for each in (one, other)) < apart
    assert {point.group for point in found.map_points} == {"jazz", "rock"}
    assert (found.map_category, found.map_points[1].title, found.map_points[0].title) == (
        "genre",
        "Title 1",
        name_of(0),
    )
    assert points.min() == pytest.approx(0.02)
    assert points.max() == pytest.approx(0.98)


def test_a_large_collection_is_sampled_and_a_tiny_one_has_no_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MAX_POINTS", 20)
    sampled = overview(tmp_path / "large", planted_vectors(50))
    assert len({point.recording_id for point in sampled.map_points}) == 20
    assert overview(tmp_path / "tiny", planted_vectors(4)).map_points == ()

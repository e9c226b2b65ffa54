"""Queries that a person might type, and their best hits."""

import numpy as np

from mulan.evaluation.example_queries import best_hits, typical_queries
from tests.evaluation.planted import unit


def test_best_hits_come_in_order_and_equals_by_id() -> None:
    audio = unit(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]))
    (example,) = best_hits(["east"], np.array([[1.0, 0.0]]), audio, list("abcd"), [["x:1"], [], [], []], count=3)
    assert [hit.recording_id for hit in example.hits] == ["b", "d", "c"]
    assert example.hits[2].score == np.float64(audio[2, 0])
    assert [hit.score for hit in example.hits] == sorted((hit.score for hit in example.hits), reverse=True)


def test_typical_queries_join_tags_that_occur_together() -> None:
    tags = [
        ["genre:jazz", "mood:sad", "tempo:slow", "instrument:piano"],
        ["genre:jazz", "mood:sad", "tempo:slow", "instrument:drums", "instrument:piano"],
        ["genre:rock", "mood:sad", "tempo:fast", "instrument:drums"],
        ["genre:rock", "mood:dark", "instrument:drums"],
        ["genre:techno"],
    ]
    assert typical_queries(tags, [[]] * 5) == [
        "slow sad jazz music with piano",
        "fast dark rock music with drums",
        "techno music",
    ]


def test_without_genres_the_texts_are_the_queries() -> None:
    assert typical_queries([["mood:sad"], []], [["z", "a"], ["m"]], count=2) == ["a", "m"]

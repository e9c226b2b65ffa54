import numpy as np

from mulan.evaluation import zero_shot
from mulan.evaluation.example_queries import best_hits, typical_queries
from mulan.evaluation.metrics import gold_ranks
from mulan.evaluation.zero_shot import queries_and_gold, text_to_music
from tests.evaluation.planted import unit


def test_a_text_of_several_recordings_is_one_query_with_several_gold_items() -> None:
    texts = [["b", "a"], [], ["a"], ["c", "c"]]
    assert queries_and_gold(texts) == {"a": (0, 2), "b": (0,), "c": (3,)}


def test_each_query_searches_all_recordings_also_where_they_go_in_several_blocks(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    audio, queries = unit(rng.normal(size=(50, 8))), unit(rng.normal(size=(17, 8)))
    gold = [(number, number + 20) for number in range(17)]
    whole = text_to_music(queries, audio, gold)
    ranks = [
        int(gold_ranks(audio.astype(np.float64) @ q.astype(np.float64), g)[0])
        for q, g in zip(queries, gold, strict=True)
    ]
    assert whole.mrr == np.mean(1 / np.array(ranks, dtype=np.float64))
    assert (whole.n_queries, whole.n_items) == (17, 50)
    monkeypatch.setattr(zero_shot, "_QUERIES_AT_ONCE", 5)
    assert text_to_music(queries, audio, gold) == whole


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

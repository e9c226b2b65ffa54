import numpy as np

from mulan.evaluation.metrics import retrieval
from mulan.evaluation.metrics.retrieval import gold_positions
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
        int(gold_positions(audio.astype(np.float64) @ q.astype(np.float64), g).ranks[0])
        for q, g in zip(queries, gold, strict=True)
    ]
    assert whole.mrr == np.mean(1 / np.array(ranks, dtype=np.float64))
    assert (whole.num_queries, whole.num_items) == (17, 50)
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", 5 * 8 * 50)  # five queries at a time
    assert text_to_music(queries, audio, gold) == whole

"""Tests retrieval by captions and playlists against planted truths, brute force, scikit-learn and torchmetrics."""

import itertools
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_hit_rate, retrieval_reciprocal_rank

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.resampling import Resampling
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.protocols.retrieval import CaptionRetrieval, PlaylistRetrieval
from mulan.evaluation.recordings import LabelledRecording
from tests.evaluation.protocols.planted_model import evaluated, random_text_vector, unit

RNG = np.random.default_rng(0)


def recording(number: int, *texts: str, source: str = "long_form", split: str = "test") -> LabelledRecording:
    return LabelledRecording(f"r{number:03}", split, texts={source: texts})


def only(model: Evaluated, protocol: CaptionRetrieval | PlaylistRetrieval) -> SetScores:
    (scores,) = protocol.evaluate(model)
    return scores


def random_model(count: int = 60, *, levels: int = 3, source: str = "long_form") -> Evaluated:
    """Coarse vectors, so that there are ties, and texts that several recordings share."""
    recordings = [recording(n, f"text {n % 17}", f"text {n}", source=source) for n in range(count)]
    vectors = {f"text {n}": unit(RNG.integers(1, levels + 1, size=4).astype(float)) for n in range(count)}
    return evaluated(recordings, unit(RNG.integers(1, levels + 1, size=(count, 4)).astype(float)), vectors.__getitem__)


def similarities(model: Evaluated, source: str = "long_form") -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The similarity of each query in alphabetical order to every recording, and whether it is one of its own."""
    assert model.audio is not None
    own = [each.texts_of(source) for each in model.audio.recordings]
    queries = sorted(set(itertools.chain(*own)))
    vectors = model.encoder.embed_text(queries).astype(np.float64)
    items = model.audio.means.astype(np.float64)
    return list(vectors @ items.T), [np.array([query in texts for texts in own]) for query in queries]


def test_a_perfect_model_finds_every_caption_first() -> None:
    recordings = [recording(n, f"caption {n}") for n in range(30)]
    vectors = np.stack([random_text_vector(f"caption {n}") for n in range(30)])
    scores = only(evaluated(recordings, vectors, random_text_vector), CaptionRetrieval("captions"))
    assert scores.section == "retrieval.captions"
    assert scores.scores == {
        "recall1": 1,
        "recall5": 1,
        "recall10": 1,
        "median_rank": 1,
        "map10": 1,
        "mrr": 1,
    }
    assert all((draws == 1).all() for draws in scores.draws.values()) and set(scores.draws) == set(scores.scores)
    assert (scores.counts["queries"], scores.counts["recordings"], scores.counts["relevant"]) == (30, 30, 30)


def test_a_planted_rank_is_the_rank() -> None:
    """Recording n is the n-th best for each query, of which one is of recording 3 and one of recordings 20 and 7."""
    texts = {3: ["of four"], 7: ["of eight"], 20: ["of eight"]}
    angles = np.linspace(0, 1, 40)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    model = evaluated([recording(n, *texts.get(n, [])) for n in range(40)], vectors, lambda _: np.array([1.0, 0]))
    scores = only(model, CaptionRetrieval("captions"))
    assert scores.scores == {
        "recall1": 0,
        "recall5": 0.5,
        "recall10": 1,
        "median_rank": 6,
        "map10": pytest.approx((1 / 4 + 1 / 8 / 2) / 2),
        "mrr": pytest.approx((1 / 4 + 1 / 8) / 2),
    }
    assert scores.counts["recordings_with_text"] == 3
    assert [each["query"] for each in scores.details["examples"]] == ["of four", "of eight"]
    assert [hit["recording"] for hit in scores.details["examples"][0]["hits"]] == ["r000", "r001", "r002"]
    assert not any(hit["relevant"] for hit in scores.details["examples"][0]["hits"])


def test_a_model_that_ignores_its_input_has_the_worst_ranks_and_the_area_of_chance() -> None:
    recordings = [recording(n, f"list {n % 4}", source="playlist") for n in range(40)]
    deaf = evaluated(recordings, np.ones((40, 4)) / 2, lambda _: np.full(4, 0.5))
    scores = only(deaf, PlaylistRetrieval("titles")).scores
    assert scores == {"roc_auc": 0.5, "map": 0.25, "recall10": 0, "prevalence": 0.25}
    captions = [recording(n, f"caption {n}") for n in range(40)]
    found = only(evaluated(captions, np.ones((40, 4)) / 2, lambda _: np.full(4, 0.5)), CaptionRetrieval("x"))
    assert (found.scores["recall10"], found.scores["median_rank"]) == (0, 40)
    assert set(found.details["chance"]) == set(found.scores)  # of random orders, which have no ties
    assert found.details["chance"]["median_rank"] == 20.5


def test_the_stated_chance_is_the_mean_of_models_without_skill() -> None:
    recordings = [recording(n, f"list {n % 10}", source="playlist") for n in range(40)]
    results = []
    for _ in range(100):
        vectors = unit(RNG.normal(size=(40, 16)))
        results.append(only(evaluated(recordings, vectors, random_text_vector, replicates=0), PlaylistRetrieval("x")))
    assert results[0].details["min_tracks"] == 2
    chance = results[0].details["chance"]
    assert chance["recall10"] == pytest.approx(1 - 27405 / 91390)  # C(30, 4) / C(40, 4)
    assert np.mean([each.scores["recall10"] for each in results]) == pytest.approx(chance["recall10"], abs=0.05)
    assert np.mean([each.scores["roc_auc"] for each in results]) == pytest.approx(chance["roc_auc"], abs=0.02)
    assert np.mean([each.scores["map"] for each in results]) == pytest.approx(chance["map"], abs=0.02)


def test_caption_scores_are_those_of_a_walk_down_each_list_and_of_torchmetrics() -> None:
    model = random_model(levels=9)
    scores = only(model, CaptionRetrieval("captions"))
    ranks, precisions = [], []
    for similarity, own in zip(*similarities(model), strict=True):
        order = sorted(range(60), key=lambda item, s=similarity, o=own: (-s[item], o[item]))  # type: ignore[misc]
        found = [rank for rank, item in enumerate(order, 1) if own[item]]
        ranks.append(found[0])
        precisions.append(sum(hit / rank for hit, rank in enumerate(found, 1) if rank <= 10) / min(len(found), 10))
    assert scores.scores["median_rank"] == statistics.median(ranks)
    assert scores.scores["map10"] == pytest.approx(np.mean(precisions), abs=1e-9)
    for cutoff in (1, 5, 10):
        assert scores.scores[f"recall{cutoff}"] == np.mean([rank <= cutoff for rank in ranks])
    assert scores.scores["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]), abs=1e-9)


def test_scores_without_ties_are_those_of_torchmetrics() -> None:
    recordings = [recording(n, f"list {n % 7}", f"list {n % 11}", source="playlist") for n in range(70)]
    model = evaluated(recordings, unit(RNG.normal(size=(70, 16))), random_text_vector)
    titles = only(model, PlaylistRetrieval("titles", min_tracks=2)).scores
    captions = only(model, CaptionRetrieval("titles", source="playlist")).scores
    # torchmetrics takes what has no positive score for not retrieved
    pairs = [
        (torch.from_numpy(s + 2), torch.from_numpy(t)) for s, t in zip(*similarities(model, "playlist"), strict=True)
    ]
    for ours, theirs in (
        (titles["map"], [retrieval_average_precision(*pair) for pair in pairs]),
        (captions["mrr"], [retrieval_reciprocal_rank(*pair) for pair in pairs]),
        (captions["recall5"], [retrieval_hit_rate(*pair, top_k=5) for pair in pairs]),
    ):
        assert ours == pytest.approx(np.mean([float(each) for each in theirs]), abs=1e-7)  # float32


def test_playlist_scores_are_those_of_scikit_learn_with_ties() -> None:
    model = random_model(source="playlist")
    scores = only(model, PlaylistRetrieval("titles"))
    assert scores.section == "retrieval.playlists"
    pairs = [pair for pair in zip(*similarities(model, "playlist"), strict=True) if pair[1].sum() >= 2]
    assert len(pairs) == scores.counts["queries"] == 17
    assert scores.scores["roc_auc"] == pytest.approx(np.mean([roc_auc_score(t, s) for s, t in pairs]), abs=1e-9)
    assert scores.scores["map"] == pytest.approx(np.mean([average_precision_score(t, s) for s, t in pairs]), abs=1e-9)


def test_queries_have_the_number_of_recordings_of_the_paper() -> None:
    sizes = [*range(9, 33), 100, 101]
    texts: list[list[str]] = [[] for _ in range(120)]
    for size in sizes:
        for row in range(size):
            texts[row].append(f"list of {size}")
    recordings = [recording(n, *each, source="playlist") for n, each in enumerate(texts)]
    model = evaluated(recordings, unit(RNG.normal(size=(120, 16))), random_text_vector)
    scores = only(model, PlaylistRetrieval("titles"))
    assert (scores.counts["queries"], scores.counts["texts"]) == (24, 26)
    assert scores.counts["relevant"] == sum(range(10, 33)) + 100
    assert "of 10 to 100 recordings" in scores.protocol
    few = only(model, PlaylistRetrieval("titles", max_tracks=28))
    assert few.counts["queries"] == 19 and few.details["min_tracks"] == 10
    smaller = only(model, PlaylistRetrieval("titles", max_tracks=9))
    assert smaller.counts["queries"] == 1 and smaller.details["min_tracks"] == 2
    assert "of 2 (not 10, which no text has) to 9 recordings" in smaller.protocol


def test_descriptions_are_of_the_recordings_of_a_title_and_comments_are_none() -> None:
    """Ten playlists of twelve recordings each, and comments that as many recordings have."""
    recordings = [
        LabelledRecording(
            f"r{row:03}",
            "test",
            texts={
                "playlist": (f"title {row // 12}",),
                "long_form": (f"description {row // 12}", *(["nice song!"] if row % 7 == 0 else []), f"own {row}"),
            },
        )
        for row in range(120)
    ]
    model = evaluated(recordings, unit(RNG.normal(size=(120, 16))), random_text_vector)
    scores = only(model, PlaylistRetrieval("descriptions", source="long_form", titles="playlist"))
    assert (scores.counts["queries"], scores.counts["texts"], scores.counts["relevant"]) == (10, 10, 120)
    assert scores.details["min_tracks"] == 10
    assert "those of a title, a text of playlist, searches" in scores.protocol
    assert only(model, PlaylistRetrieval("texts", source="long_form")).counts["queries"] == 11
    with pytest.raises(EvaluationError, match="of the same ones as a text of short_form"):
        only(model, PlaylistRetrieval("descriptions", source="long_form", titles="short_form"))


def test_playlists_with_the_same_title_are_one_query() -> None:
    recordings = [recording(row, "Chill" if row < 24 else "Focus", source="playlist") for row in range(36)]
    model = evaluated(recordings, unit(RNG.normal(size=(36, 16))), random_text_vector)
    scores = only(model, PlaylistRetrieval("titles"))
    assert (scores.counts["queries"], scores.counts["most_relevant_of_a_query"]) == (2, 24)
    assert "playlists with the same title are one query" in scores.protocol


def test_all_recordings_of_the_split_are_searched_and_no_others() -> None:
    recordings = [recording(0, "a"), recording(1), recording(2, "a", split="train"), recording(3)]
    vectors = unit(np.array([[1.0, 1.0], [1.0, 0.5], [1.0, 0.0], [0.0, 1.0]]))
    scores = only(evaluated(recordings, vectors, lambda _: np.array([1.0, 0])), CaptionRetrieval("captions"))
    assert (scores.counts["recordings"], scores.scores["median_rank"]) == (3, 2)


def test_examples_go_from_the_best_query_to_the_worst() -> None:
    angles = np.linspace(0, 1, 9)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    model = evaluated([recording(n, f"{n}") for n in range(9)], vectors, lambda _: np.array([1.0, 0]))
    examples = only(model, CaptionRetrieval("captions")).details["examples"]
    assert [each["query"] for each in examples] == ["0", "2", "4", "6", "8"]
    assert [each["rank"] for each in examples] == [1, 3, 5, 7, 9]
    assert [hit["relevant"] for hit in examples[1]["hits"]] == [False, False, True]
    assert [hit["score"] for hit in examples[4]["hits"]] == pytest.approx(np.cos(angles[:3]), abs=1e-6)


def test_queries_of_the_same_recordings_are_drawn_together() -> None:
    recordings = [recording(n, f"one {n}", f"two {n}") for n in range(12)]
    vectors = unit(RNG.normal(size=(12, 16)))
    pairs = {f"{name} {n}": random_text_vector(str(n)) for n in range(12) for name in ("one", "two")}
    twice = only(evaluated(recordings, vectors, pairs.__getitem__, replicates=100), CaptionRetrieval("x"))
    single = [recording(n, f"one {n}") for n in range(12)]
    once = only(evaluated(single, vectors, pairs.__getitem__, replicates=100), CaptionRetrieval("x"))
    assert twice.counts["queries"] == 2 * once.counts["queries"]
    np.testing.assert_allclose(twice.draws["mrr"], once.draws["mrr"], rtol=1e-12)


def test_queries_for_recordings_of_one_artist_are_drawn_together() -> None:
    vectors = unit(RNG.normal(size=(12, 16)))

    def draws(artists: list[str]) -> np.ndarray:
        recordings = [replace(recording(n, f"text {n:02}"), artist=artist) for n, artist in enumerate(artists)]
        scores = only(evaluated(recordings, vectors, random_text_vector, replicates=100), CaptionRetrieval("x"))
        assert "queries are resampled, those for recordings of the same known artists together" in scores.protocol
        reciprocal = 1 / np.array([ranks_of(recordings, vectors, n) for n in range(12)])
        assert scores.scores["mrr"] == pytest.approx(reciprocal.mean(), abs=1e-12)
        resampling = Resampling(artists, replicates=100)
        np.testing.assert_allclose(scores.draws["mrr"], resampling.means(reciprocal), rtol=1e-12)
        return scores.draws["mrr"]

    def ranks_of(recordings: list[LabelledRecording], items: np.ndarray, n: int) -> int:
        similarity = items.astype(np.float64) @ random_text_vector(f"text {n:02}").astype(np.float64)
        return 1 + sum(other > similarity[n] for other in similarity.tolist())

    of_artists, unknown = draws([f"artist {n % 3}" for n in range(12)]), draws([""] * 12)
    assert len(set(np.round(of_artists, 9).tolist())) <= 10, "three artists have ten different draws"
    assert len(set(np.round(unknown, 9).tolist())) > 50


def test_equal_queries_and_recordings_have_one_digest() -> None:
    vectors = unit(RNG.normal(size=(4, 8)))

    def digest(names: str, texts: str) -> str:
        recordings = [LabelledRecording(name, "test", texts={"long_form": (text,)})
                      for name, text in zip(names, texts, strict=True)]  # fmt: skip
        vector = np.eye(8)[0]
        return only(evaluated(recordings, vectors, lambda _: vector), CaptionRetrieval("x")).sample_sha256

    assert digest("abcd", "stuv") == digest("abcd", "stuv")
    assert len({digest("abcd", "stuv"), digest("abce", "stuv"), digest("abcd", "stuw"), digest("abcd", "stvu")}) == 4


def test_what_cannot_be_retrieved_is_named() -> None:
    model = evaluated([recording(0, "a"), recording(1, "b")], np.eye(2), lambda _: np.array([1.0, 0]))
    with pytest.raises(EvaluationError, match="no recording of the split 'test' has a text of the source short_form"):
        only(model, CaptionRetrieval("captions", source="short_form"))
    with pytest.raises(EvaluationError, match="no text of the source long_form is of 2 to 100 recordings"):
        only(model, PlaylistRetrieval("descriptions", source="long_form"))

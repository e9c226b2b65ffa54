"""Text-to-music retrieval: each text is a query, the recordings it was written for are what should be found."""

from collections.abc import Sequence

import numpy as np

from mulan.evaluation.metrics import RetrievalScores, gold_ranks, retrieval_scores

QUERY_SOURCE = "long_form"
"""The source whose texts are the queries: whole sentences, as in the playlist descriptions of MuLan §4.1.3."""

_QUERIES_AT_ONCE = 256


def queries_and_gold(texts: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Every distinct text, with the positions of all recordings that carry it.

    All texts of a recording are queries. The texts are in alphabetical order, the positions ascending.

    Args:
        texts: each recording's texts of :data:`QUERY_SOURCE`; none for a recording without any.
    """
    gold: dict[str, set[int]] = {}
    for position, of_recording in enumerate(texts):
        for text in of_recording:
            gold.setdefault(text, set()).add(position)
    return {text: tuple(sorted(gold[text])) for text in sorted(gold)}


def text_to_music(queries: np.ndarray, audio: np.ndarray, gold: Sequence[Sequence[int]]) -> RetrievalScores:
    """Searches the recordings by every query; the score is the cosine.

    Args:
        queries: unit vectors [queries, d], at least one.
        audio: unit vectors [recordings, d]: the collection, each recording once.
        gold: for each query the positions of its recordings.
    """
    collection = audio.astype(np.float64).T
    ranks: list[np.ndarray] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):  # the whole similarity matrix may not fit
        similarity = queries[start : start + _QUERIES_AT_ONCE].astype(np.float64) @ collection
        ranks += [gold_ranks(scores, gold[start + row]) for row, scores in enumerate(similarity)]
    return retrieval_scores(ranks, n_items=len(audio))

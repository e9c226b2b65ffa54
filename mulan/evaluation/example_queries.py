"""A handful of text queries with their best hits: what the numbers sound like."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.evaluation.zero_shot import split_tag

_WORD_ORDER = ("tempo", "mood", "genre")
"""Categories that qualify, in the order English puts them; instruments follow after "with"."""


@dataclass(frozen=True)
class Hit:
    recording_id: str
    score: float
    """Cosine of recording and query."""
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ExampleQuery:
    text: str
    hits: tuple[Hit, ...]
    """Best first; recordings of equal score in the order of their ids."""


def typical_queries(tags: Sequence[Sequence[str]], texts: Sequence[Sequence[str]], *, count: int = 5) -> list[str]:
    """Queries a person might type, made of the recordings' own tags: "slow sad jazz music with piano".

    Each of the most frequent genres is joined to the tempo, mood and instrument that go with it most often and that no
    earlier query has used, if there is such a one. Without genres, the first of the recordings' texts are the queries.

    Args:
        tags: each recording's tags, ``category:text``.
        texts: each recording's texts.
        count: at most so many.
    """
    by_recording = [[split_tag(tag) for tag in of_recording] for of_recording in tags]
    genres = _by_frequency([text for pairs in by_recording for category, text in pairs if category == "genre"])
    if not genres:
        return sorted({text for of_recording in texts for text in of_recording})[:count]
    queries: list[str] = []
    used: set[tuple[str, str]] = set()
    for genre in genres[:count]:
        companions = [pair for pairs in by_recording if ("genre", genre) in pairs for pair in pairs]
        words = {"genre": genre}
        for category in ("tempo", "mood", "instrument"):
            found = _by_frequency([text for category_of_tag, text in companions if category_of_tag == category])
            fresh = [text for text in found if (category, text) not in used]
            if found:
                words[category] = (fresh or found)[0]
                used.add((category, words[category]))
        queries.append(_phrase(words))
    return queries


def best_hits(
    queries: Sequence[str],
    query_embeddings: np.ndarray,
    audio: np.ndarray,
    recording_ids: Sequence[str],
    tags: Sequence[Sequence[str]],
    *,
    count: int = 3,
) -> tuple[ExampleQuery, ...]:
    """The recordings nearest to each query.

    Args:
        queries: the texts.
        query_embeddings: unit vectors [queries, d].
        audio: unit vectors [recordings, d].
        recording_ids: one a row of ``audio``, ascending.
        tags: of each recording.
        count: hits a query.
    """
    similarity = query_embeddings.astype(np.float64) @ audio.astype(np.float64).T
    return tuple(
        ExampleQuery(
            text,
            tuple(
                Hit(recording_ids[row], float(scores[row]), tuple(tags[row]))
                for row in np.argsort(-scores, kind="stable")[:count]
            ),
        )
        for text, scores in zip(queries, similarity, strict=True)
    )


def _by_frequency(texts: Sequence[str]) -> list[str]:
    """Distinct texts, the most frequent first and equals in alphabetical order."""
    counts = Counter(texts)
    return sorted(counts, key=lambda text: (-counts[text], text))


def _phrase(words: dict[str, str]) -> str:
    qualified = " ".join(words[category] for category in _WORD_ORDER if category in words)
    return f"{qualified} music with {words['instrument']}" if "instrument" in words else f"{qualified} music"

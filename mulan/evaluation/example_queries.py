"""Example text queries with their best hits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.data.corpus.metadata import split_tag

_WORD_ORDER = ("tempo", "mood", "genre")
"""Categories that precede "music" in a query, in the word order of English; instruments follow after "with"."""


@dataclass(frozen=True)
class Hit:
    """A recording that a query retrieved."""

    recording_id: str
    """Id of the recording."""
    score: float
    """Cosine similarity of recording and query."""
    tags: tuple[str, ...]
    """Tags of the recording."""


@dataclass(frozen=True)
class ExampleQuery:
    """A text query with its best hits."""

    text: str
    """Text of the query."""
    hits: tuple[Hit, ...]
    """Hits by descending score; ties are in the order of the recordings' ids."""


def typical_queries(tags: Sequence[Sequence[str]], texts: Sequence[Sequence[str]], *, count: int = 5) -> list[str]:
    """Returns queries that a user might enter, built from the recordings' tags: "slow sad jazz music with piano".

    Each of the most frequent genres is combined with its most frequent tempo, mood and instrument, preferably with ones
    that no earlier query used. Without genres, the alphabetically first texts of the recordings are the queries.

    Args:
        tags: Tags of each recording, ``category:text``.
        texts: Texts of each recording.
        count: Maximum number of queries.
    """
    by_recording = [[split_tag(tag) for tag in recording_tags] for recording_tags in tags]
    genres = _by_frequency([text for pairs in by_recording for category, text in pairs if category == "genre"])
    if not genres:
        return sorted({text for recording_texts in texts for text in recording_texts})[:count]
    queries: list[str] = []
    used: set[tuple[str, str]] = set()
    for genre in genres[:count]:
        companions = [pair for pairs in by_recording if ("genre", genre) in pairs for pair in pairs]
        words = {"genre": genre}
        for category in ("tempo", "mood", "instrument"):
            candidates = _by_frequency([text for tag_category, text in companions if tag_category == category])
            unused = [text for text in candidates if (category, text) not in used]
            if candidates:
                words[category] = (unused or candidates)[0]
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
    """Returns the recordings with the highest similarity to each query.

    Args:
        queries: Texts of the queries.
        query_embeddings: Unit vectors [queries, d].
        audio: Unit vectors [recordings, d].
        recording_ids: Id of each row of ``audio``, ascending.
        tags: Tags of each recording.
        count: Number of hits per query.
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
    """Returns the distinct texts by descending frequency; ties are in alphabetical order."""
    counts = Counter(texts)
    return sorted(counts, key=lambda text: (-counts[text], text))


def _phrase(words: dict[str, str]) -> str:
    qualified = " ".join(words[category] for category in _WORD_ORDER if category in words)
    return f"{qualified} music with {words['instrument']}" if "instrument" in words else f"{qualified} music"

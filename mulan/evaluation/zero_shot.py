"""Zero-shot tagging: a recording's score for a tag is the cosine between its embedding and that of the tag's text.

Tags are ``category:text``. The text is the prompt, verbatim (MuLan §4.1.1), and each category is scored by itself.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mulan.evaluation.metrics import RetrievalScores, TaggingScores, gold_ranks, retrieval_scores, tagging_scores

UNNAMED_CATEGORY = "tag"
"""Where tags without a category go."""


def split_tag(tag: str) -> tuple[str, str]:
    """``"genre:hard rock"`` is ``("genre", "hard rock")``."""
    category, colon, text = tag.partition(":")
    return (category, text) if colon else (UNNAMED_CATEGORY, tag)


def vocabulary(tags: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The tag texts of each category among some recordings' tags, both in alphabetical order."""
    found: dict[str, set[str]] = {}
    for of_recording in tags:
        for category, text in map(split_tag, of_recording):
            found.setdefault(category, set()).add(text)
    return {category: tuple(sorted(found[category])) for category in sorted(found)}


def zero_shot_tagging(
    audio: np.ndarray, tags: Sequence[Sequence[str]], prompts: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, TaggingScores]:
    """Scores of each category of tags.

    A category judges only the recordings that bear at least one of its tags: a recording nobody has described in that
    respect tells nothing.

    Args:
        audio: unit vectors [recordings, d].
        tags: each recording's tags, ``category:text``.
        prompts: category to tag text to unit vector [d].
    """
    result = {}
    for category, embeddings in prompts.items():
        texts = list(embeddings)
        borne = tags_borne(tags, category, texts)
        judged = borne.any(axis=1)
        similarity = audio[judged].astype(np.float64) @ np.stack(list(embeddings.values())).astype(np.float64).T
        result[category] = tagging_scores(similarity, borne[judged], texts)
    return result


def tags_borne(tags: Sequence[Sequence[str]], category: str, texts: Sequence[str]) -> np.ndarray:
    """bool [recordings, texts]: which recording bears which tag of a category."""
    columns = {text: column for column, text in enumerate(texts)}
    borne = np.zeros((len(tags), len(texts)), dtype=bool)
    for row, of_recording in enumerate(tags):
        for category_of_tag, text in map(split_tag, of_recording):
            if category_of_tag == category and text in columns:
                borne[row, columns[text]] = True
    return borne


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

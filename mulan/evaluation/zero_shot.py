"""Zero-shot tagging and text-to-music retrieval by the cosine similarity of audio and text embeddings.

Tags are ``category:text``. The text is the prompt, verbatim (MuLan §4.1.1), and each category is scored separately.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.metrics.retrieval import RetrievalScores, retrieval_scores, search
from mulan.evaluation.metrics.tagging import TaggingScores, tagging_scores


def vocabulary(tags: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Returns the distinct tag texts of each category, both in alphabetical order.

    Args:
        tags: Tags of each recording, ``category:text``.
    """
    texts: dict[str, set[str]] = {}
    for recording_tags in tags:
        for category, text in map(split_tag, recording_tags):
            texts.setdefault(category, set()).add(text)
    return {category: tuple(sorted(texts[category])) for category in sorted(texts)}


def zero_shot_tagging(
    audio: np.ndarray, tags: Sequence[Sequence[str]], prompts: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, TaggingScores]:
    """Scores each category of tags.

    A category is scored on the recordings that have at least one of its tags, since the labels of all others are
    unknown.

    Args:
        audio: Unit vectors [recordings, d].
        tags: Tags of each recording, ``category:text``.
        prompts: Unit vector [d] by category and tag text.
    """
    result = {}
    for category, embeddings in prompts.items():
        texts = list(embeddings)
        labels = multi_hot_labels(tags, category, texts)
        labelled = labels.any(axis=1)
        similarity = audio[labelled].astype(np.float64) @ np.stack(list(embeddings.values())).astype(np.float64).T
        result[category] = tagging_scores(similarity, labels[labelled], texts)
    return result


def multi_hot_labels(tags: Sequence[Sequence[str]], category: str, texts: Sequence[str]) -> np.ndarray:
    """Returns bool [recordings, texts], True if the recording has the tag of the category."""
    columns = {text: column for column, text in enumerate(texts)}
    labels = np.zeros((len(tags), len(texts)), dtype=bool)
    for row, recording_tags in enumerate(tags):
        for tag_category, text in map(split_tag, recording_tags):
            if tag_category == category and text in columns:
                labels[row, columns[text]] = True
    return labels


QUERY_SOURCE = "long_form"
"""Text source of the queries: whole sentences, as in the playlist descriptions of MuLan §4.1.3."""


def queries_and_gold(texts: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Returns every distinct text in alphabetical order, with the ascending indices of all recordings that have it.

    Args:
        texts: Texts of :data:`QUERY_SOURCE` of each recording; all of them are queries.
    """
    gold: dict[str, set[int]] = {}
    for index, recording_texts in enumerate(texts):
        for text in recording_texts:
            gold.setdefault(text, set()).add(index)
    return {text: tuple(sorted(gold[text])) for text in sorted(gold)}


def text_to_music(queries: np.ndarray, audio: np.ndarray, gold: Sequence[Sequence[int]]) -> RetrievalScores:
    """Searches the recordings with every query, by cosine similarity.

    Args:
        queries: Unit vectors [queries, d], at least one.
        audio: Unit vectors [recordings, d] of the collection, each recording once.
        gold: Indices of each query's recordings.
    """
    return retrieval_scores(list(search(queries, audio, gold)))

"""Tags as classes, and the tags of recordings as multi-hot vectors."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mulan.config.objectives import TaggingConfig
from mulan.data.corpus.index import Corpus
from mulan.data.plan import PlanError


def tag_names(corpus: Corpus, prefix: str) -> tuple[str, ...]:
    """Returns the distinct tags of all splits that begin with a prefix, in alphabetical order."""
    return tuple(sorted(name for name in corpus.tags() if name.startswith(prefix)))


def class_names(corpus: Corpus, tagging: TaggingConfig) -> tuple[str, ...]:
    """Returns the classes of a tagger, which are the same for all splits: the corpus's tags with the recipe's prefix.

    Raises:
        PlanError: The number of tags differs from the recipe's ``tagging.classes``.
    """
    names = tag_names(corpus, tagging.prefix)
    if len(names) != tagging.classes:
        raise PlanError(
            f"corpus {corpus.uri} has {len(names)} tags that begin with {tagging.prefix!r}, the recipe asks for "
            f"{tagging.classes}; set tagging.prefix or tagging.classes={len(names)}"
        )
    return names


def multi_hot(corpus: Corpus, rows: Sequence[int], classes: Sequence[str]) -> np.ndarray:
    """Returns the tags of index rows as uint8 [len(rows), len(classes)], 1 where the recording has the tag."""
    if not classes:
        return np.zeros((len(rows), 0), np.uint8)
    tag_lists = corpus.column("tags").take(pa.array(rows, pa.int64())).to_pylist()
    column_of = {name: column for column, name in enumerate(classes)}
    matrix = np.zeros((len(rows), len(classes)), np.uint8)
    for row, tags in enumerate(tag_lists):
        matrix[row, [column_of[tag] for tag in tags if tag in column_of]] = 1
    return matrix

"""Tags as classes: which ones, and which of them a recording bears."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulan.config.sections import SemiSupConConfig, TaggingConfig
from mulan.data.corpus.index import Corpus
from mulan.data.plan import PlanError


def class_names(corpus: Corpus, tagging: TaggingConfig) -> tuple[str, ...]:
    """The corpus's tags that begin with the prefix, in alphabetical order; of all splits, so that they share classes.

    Raises:
        PlanError: they are not as many as the recipe says.
    """
    tags = pc.unique(corpus.table["tags"].combine_chunks().flatten())
    names = sorted(name for name in tags.to_pylist() if name.startswith(tagging.prefix))
    if len(names) != tagging.classes:
        raise PlanError(
            f"corpus {corpus.uri} has {len(names)} tags that begin with {tagging.prefix!r}, the recipe asks for "
            f"{tagging.classes}; set tagging.prefix or tagging.classes={len(names)}"
        )
    return tuple(names)


def multi_hot(corpus: Corpus, rows: Sequence[int], classes: Sequence[str]) -> np.ndarray:
    """uint8 [len(rows), len(classes)]: 1 where the recording of a row of the index bears the tag."""
    if not classes:
        return np.zeros((len(rows), 0), np.uint8)
    borne = corpus.table["tags"].take(pa.array(rows, pa.int64())).to_pylist()
    place = {name: number for number, name in enumerate(classes)}
    matrix = np.zeros((len(rows), len(classes)), np.uint8)
    for row, tags in enumerate(borne):
        matrix[row, [place[tag] for tag in tags if tag in place]] = 1
    return matrix


def label_names(corpus: Corpus, section: SemiSupConConfig) -> tuple[str, ...]:
    """The corpus's labels, of all splits, in alphabetical order."""
    tags = pc.unique(corpus.table["tags"].combine_chunks().flatten())
    names: list[str] = pc.filter(tags, pc.starts_with(tags, section.tag_prefix)).to_pylist() if len(tags) else []
    return tuple(sorted(names))

"""The streams that batches are mixed of: recordings by the kind of text they have, and by whether they are labelled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from mulan.config.sections import SOURCES, LossWeightsConfig, SemiSupConConfig, Source, SourceRatioConfig
from mulan.data.corpus.index import Corpus
from mulan.data.randomness import Permutation

TRAIN = "train"
"""The split whose labels count."""


class Stream(NamedTuple):
    """What the recordings of a stream have in common."""

    source: Source | None
    """Texts of this source; None where no text is read."""
    labelled: bool | None = None
    """Whether labels are used; None where no objective asks for them."""

    def __str__(self) -> str:
        """As it stands in messages and, never to be changed, in the keys of draws."""
        kind = {None: "", True: "labelled", False: "unlabelled"}[self.labelled]
        return " ".join(filter(None, (self.source, kind)))


@dataclass(frozen=True, eq=False)
class StreamMixture:
    """The streams of one split and what they contribute to every batch."""

    rows: Mapping[Stream, np.ndarray]
    """Index rows of each stream, int64."""
    shares: Mapping[Stream, float]
    """In any unit; 0 leaves a stream out."""


def build_mixture(
    corpus: Corpus,
    split: str,
    weights: LossWeightsConfig,
    source_ratio: SourceRatioConfig,
    semisupcon: SemiSupConConfig,
    *,
    seed: int,
) -> StreamMixture:
    """Returns one stream for each source of texts, or one of all recordings if only audio is compared.

    With semi-supervised learning, each is divided into labelled and unlabelled recordings.

    Args:
        seed: Seed of the draw of the labels that are used (``train.seed``).
    """
    if weights.uses_text or weights.tagging:
        rows = {Stream(source): of_source for source, of_source in corpus.rows_by_source(split).items()}
        shares = {Stream(source): float(getattr(source_ratio, source)) for source in SOURCES}
    else:
        rows, shares = {Stream(None): corpus.rows(split)}, {Stream(None): 1.0}
    share = semisupcon.labelled_share
    if not weights.semisupcon or share == "as_found" or split != TRAIN:
        return StreamMixture(rows, shares)
    used = labels_used(corpus, semisupcon, seed=seed)
    return StreamMixture(
        {
            Stream(stream.source, labelled): of_stream[used[of_stream] == labelled]
            for stream, of_stream in rows.items()
            for labelled in (True, False)
        },
        {
            Stream(stream.source, labelled): of_stream * (share if labelled else 1 - share)
            for stream, of_stream in shares.items()
            for labelled in (True, False)
        },
    )


def labels_used(corpus: Corpus, section: SemiSupConConfig, *, seed: int) -> np.ndarray:
    """bool [rows of the index]: training recordings that bear a label which is used.

    A smaller share of labels used is a part of a larger one, so that runs with more labels have all that those with
    fewer have.
    """
    tags = corpus.table["tags"].combine_chunks()
    is_label = pc.starts_with(tags.flatten(), section.tag_prefix)
    bears = np.zeros(corpus.table.num_rows, bool)
    bears[pc.filter(pc.list_parent_indices(tags), is_label).to_numpy()] = True
    rows = corpus.rows(TRAIN)
    labelled = rows[bears[rows]]
    used = np.zeros_like(bears)
    if len(labelled):
        order = Permutation(len(labelled), seed=seed, purpose="labels used", key=())(np.arange(len(labelled)))
        used[labelled[order[: round(section.labels_used * len(labelled))]]] = True
    return used

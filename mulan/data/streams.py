"""The streams that are mixed in batches: recordings by the source of their texts, and by whether they are labelled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mulan.config.objectives import LossWeightsConfig, SemiSupConConfig
from mulan.config.sections import SOURCES, Source, SourceRatioConfig
from mulan.data.corpus.index import Corpus
from mulan.data.randomness import Permutation

TRAIN = "train"
"""Name of the split whose labels are used."""
_ROWS_AT_ONCE = 2**20


class Stream(NamedTuple):
    """A stream of recordings, identified by the properties that they share."""

    source: Source | None
    """Source of the texts; None if no text is read."""
    labelled: bool | None = None
    """Whether labels are used; None if no objective uses them."""

    def __str__(self) -> str:
        """Returns the name for messages and for the purposes of draws, for which it must never change."""
        kind = {None: "", True: "labelled", False: "unlabelled"}[self.labelled]
        return " ".join(filter(None, (self.source, kind)))


@dataclass(frozen=True, eq=False)
class StreamMixture:
    """The streams of one split and their shares of every batch."""

    rows: Mapping[Stream, np.ndarray]
    """Index rows of each stream, uint32."""
    shares: Mapping[Stream, float]
    """Relative share of each stream in every batch; 0 omits a stream."""


def build_mixture(
    corpus: Corpus,
    split: str,
    weights: LossWeightsConfig,
    source_ratio: SourceRatioConfig,
    semisupcon: SemiSupConConfig,
    *,
    seed: int,
) -> StreamMixture:
    """Returns the streams of one split: one for each text source, or one of all recordings if texts are not used.

    With semi-supervised learning, each stream is divided into labelled and unlabelled recordings.

    Args:
        corpus: Corpus of the recordings.
        split: Name of the split.
        weights: Weights of the loss terms.
        source_ratio: Shares of the text sources.
        semisupcon: Section with the share of labelled recordings and that of the labels that are used.
        seed: Seed that determines which labels are used (``train.seed``).
    """
    if weights.uses_text or weights.uses_classes:
        rows = {Stream(source): source_rows for source, source_rows in corpus.rows_by_source(split).items()}
        shares = {Stream(source): float(getattr(source_ratio, source)) for source in SOURCES}
    else:
        rows, shares = {Stream(None): corpus.rows(split)}, {Stream(None): 1.0}
    share = semisupcon.labelled_share
    if not weights.semisupcon or share == "as_found" or split != TRAIN:
        return StreamMixture(rows, shares)
    used = labels_used(corpus, semisupcon, seed=seed)
    return StreamMixture(
        {
            Stream(stream.source, labelled): stream_rows[used[stream_rows] == labelled]
            for stream, stream_rows in rows.items()
            for labelled in (True, False)
        },
        {
            Stream(stream.source, labelled): stream_share * (share if labelled else 1 - share)
            for stream, stream_share in shares.items()
            for labelled in (True, False)
        },
    )


def labels_used(corpus: Corpus, section: SemiSupConConfig, *, seed: int) -> np.ndarray:
    """Returns True for each training recording with a label that is used, bool [rows of the index].

    The recordings for a smaller ``section.labels_used`` are a subset of those for a larger one, so that runs with more
    labels use all labels of runs with fewer.
    """
    rows = corpus.rows(TRAIN)
    labelled = rows[corpus.has_tag_with(section.tag_prefix)[rows]]
    used = np.zeros(corpus.recordings, bool)
    if len(labelled):
        order = Permutation(len(labelled), seed=seed, purpose="labels used", key=())
        count = round(section.labels_used * len(labelled))
        for start in range(0, count, _ROWS_AT_ONCE):
            used[labelled[order(np.arange(start, min(start + _ROWS_AT_ONCE, count)))]] = True
    return used

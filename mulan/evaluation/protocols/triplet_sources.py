"""Where triplets of texts come from: AudioSet's ontology, playlists, and recordings with two texts (MuLan §4.1.4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.ontology import described_classes
from mulan.evaluation.protocols.queries import recordings_by_text
from mulan.evaluation.protocols.scored_split import ScoredSplit
from mulan.evaluation.recordings import LabelledRecording
from mulan.vocabularies.audioset_classes import ClassListName

NEGATIVES = 5
"""Maximum number of triplets of one anchor and positive, with different negatives."""


@dataclass(frozen=True)
class Triplet:
    """Three texts, of which the first two belong together."""

    anchor: str
    """A short text, such as the title of a playlist."""
    positive: str
    """A longer text of the same, such as its description."""
    negative: str
    """A longer text of another one."""


@dataclass(frozen=True)
class DrawnTriplets:
    """Triplets with what a report states about them."""

    triplets: tuple[Triplet, ...]
    """At least one triplet."""
    protocol: str
    """One sentence that says where they are from."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a report states, as values of JSON."""


class TripletSource(Protocol):
    """Draws triplets of texts."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits whose recordings have the texts; empty if they are of no recordings."""

    def on_split(self, split: str) -> "TripletSource":
        """Returns the source for the texts of the recordings of another split."""

    def draw(self, recordings: Sequence[LabelledRecording], seed: int) -> DrawnTriplets:
        """Returns the triplets, the same for the same seed. Equal texts are never negatives of each other.

        Args:
            recordings: Recordings of a corpus with their texts, those of the splits among them.
            seed: Seed of the choice.

        Raises:
            EvaluationError: There are not enough texts.
        """


@dataclass(frozen=True)
class OntologyTriplets:
    """The label of each class of AudioSet, its description, and the descriptions of other classes."""

    uri: str
    """Path or URI of AudioSet's ``ontology.json``."""
    classes: ClassListName = "mu_141_without_roles"
    """Name of the list of classes."""
    negatives: int = NEGATIVES
    """Number of triplets of each class."""

    splits: ClassVar[tuple[str, ...]] = ()

    def on_split(self, split: str) -> "OntologyTriplets":
        """Returns the same triplets: they are of no recordings."""
        return self

    def draw(self, recordings: Sequence[LabelledRecording], seed: int) -> DrawnTriplets:
        """Returns the triplets of all classes; recordings are not used.

        Raises:
            EvaluationError, UnusableTextFile: The ontology cannot be read, or is damaged; lists all faults.
        """
        described = described_classes(self.uri, self.classes)
        pairs = [_Pair(label, text) for label, text in described.descriptions.items()]
        return DrawnTriplets(
            tuple(_with_negatives(pairs, self.negatives, np.random.default_rng(seed))),
            f"Labels of {len(pairs)} classes of AudioSet against their descriptions, each with the descriptions of "
            f"{self.negatives} other classes",
            {"which": self.classes, "ontology_sha256": described.sha256},
        )


@dataclass(frozen=True)
class PlaylistTriplets(ScoredSplit):
    """The title of a playlist, its description, and the description of another playlist.

    A corpus has texts of recordings. A description belongs to the title of which it shares all recordings, and no
    others.
    """

    titles: str = "playlist"
    """Source of the titles."""
    descriptions: str = "long_form"
    """Source of the descriptions, which may have texts of single recordings as well."""
    min_tracks: int = 2
    """Minimum number of recordings of a playlist."""
    count: int = 1000
    """Maximum number of triplets, and of playlists, which are drawn."""

    def draw(self, recordings: Sequence[LabelledRecording], seed: int) -> DrawnTriplets:
        """Returns the triplets, up to five of each playlist if there are few.

        Raises:
            EvaluationError: There are not two playlists with a title and a description.
        """
        chosen = [each for each in recordings if each.split == self.split]
        by_rows: dict[tuple[int, ...], list[str]] = {}
        for text, rows in recordings_by_text(chosen, self.descriptions).items():
            if len(rows) >= self.min_tracks:
                by_rows.setdefault(rows, []).append(text)
        titles = recordings_by_text(chosen, self.titles)
        pairs = [
            _Pair(title, by_rows[rows][0], tuple(by_rows[rows])) for title, rows in titles.items() if rows in by_rows
        ]
        triplets = _drawn(pairs, self.count, seed)
        if not triplets:
            raise EvaluationError(
                f"no two playlists of the split {self.split!r} have a title, in {self.titles}, and a description of "
                f"the same {self.min_tracks} or more recordings, in {self.descriptions}, which triplets need"
            )
        return DrawnTriplets(
            triplets,
            f"Titles of {len(pairs)} playlists against their descriptions, which share the same {self.min_tracks} or "
            "more recordings, and the description of another playlist",
            {"titles": self.titles, "descriptions": self.descriptions, "min_tracks": self.min_tracks},
        )


@dataclass(frozen=True)
class RecordingTriplets(ScoredSplit):
    """A short text of a recording, a long one, and the long one of another recording, which has not the short one."""

    anchors: str = "short_form"
    """Source of the short texts."""
    positives: str = "long_form"
    """Source of the long texts."""
    count: int = 1000
    """Maximum number of triplets, and of recordings, which are drawn."""

    def draw(self, recordings: Sequence[LabelledRecording], seed: int) -> DrawnTriplets:
        """Returns the triplets, up to five of each recording if there are few.

        Raises:
            EvaluationError: There are not two recordings with different texts of both sources.
        """
        chosen = [each for each in recordings if each.split == self.split]
        sharing = recordings_by_text(chosen, self.anchors)
        both = [each for each in chosen if each.texts_of(self.anchors) and each.texts_of(self.positives)]
        rng = np.random.default_rng([seed, 1])
        pairs = []
        for row in rng.permutation(len(both))[: self.count].tolist():
            short, long = both[row].texts_of(self.anchors), both[row].texts_of(self.positives)
            anchor, positive = short[int(rng.integers(len(short)))], long[int(rng.integers(len(long)))]
            also_true = {text for other in sharing[anchor] for text in chosen[other].texts_of(self.positives)}
            pairs.append(_Pair(anchor, positive, tuple(also_true)))
        triplets = _drawn(pairs, self.count, seed)
        if not triplets:
            raise EvaluationError(
                f"no two recordings of the split {self.split!r} have different texts of the sources {self.anchors} and "
                f"{self.positives}, which triplets need"
            )
        return DrawnTriplets(
            triplets,
            f"A text of {self.anchors} against one of {self.positives} of the same recording, for {len(pairs)} "
            f"recordings, and one of {self.positives} of a recording without the first text",
            {"anchors": self.anchors, "positives": self.positives},
        )


@dataclass(frozen=True)
class _Pair:
    anchor: str
    positive: str
    also_true: tuple[str, ...] = ()
    """Other texts that would be right."""


def _drawn(pairs: Sequence[_Pair], count: int, seed: int) -> tuple[Triplet, ...]:
    """Draws at most ``count`` triplets of as many pairs as possible, with one negative each if there are enough."""
    if not pairs:
        return ()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs))[:count]
    negatives = min(NEGATIVES, -(-count // len(order)))
    return tuple(_with_negatives(pairs, negatives, rng, order.tolist()))[:count]


def _with_negatives(
    pairs: Sequence[_Pair], negatives: int, rng: np.random.Generator, rows: Sequence[int] | None = None
) -> Iterator[Triplet]:
    """Yields triplets of these rows of the pairs with different negatives, which are positives of other pairs.

    There are fewer than ``negatives`` of a pair if there are not as many texts that are wrong for it.
    """
    texts = [_folded(pair.positive) for pair in pairs]
    for row in range(len(pairs)) if rows is None else rows:
        pair = pairs[row]
        taken = {_folded(text) for text in (pair.anchor, pair.positive, *pair.also_true)}
        found = 0
        for other in rng.permutation(len(pairs)).tolist():
            if found == negatives:
                break
            if texts[other] not in taken:
                taken.add(texts[other])
                found += 1
                yield Triplet(pair.anchor, pair.positive, pairs[other].positive)


def _folded(text: str) -> str:
    """Returns a text without what does not distinguish texts: case, and the number and kind of blanks."""
    return " ".join(text.casefold().split())

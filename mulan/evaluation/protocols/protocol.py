"""The interface of a protocol, and the scores that it returns."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from mulan.evaluation.encoders.encoder import Encoder
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.resampling import REPLICATES, Resampling
from mulan.evaluation.probes.probe import ProbeTraining
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording

if TYPE_CHECKING:  # protocols do not wait for the libraries of effects
    from mulan.evaluation.corruptions import Corruption

SECTIONS = ("zero_shot", "probes", "retrieval.captions", "retrieval.playlists", "triplets", "robustness")
"""The sections of a report, as paths in ``report.json``."""

RESAMPLED_RECORDINGS = "for intervals, recordings are resampled, those of a known artist together"
"""End of the description of a protocol whose draws are those of :meth:`Evaluated.resampling`."""


@dataclass(frozen=True, eq=False)
class SetScores:
    """The scores of one model on one set: a category of tags, or a part of a public data set."""

    section: str
    """The section of the report, one of :data:`SECTIONS`."""
    name: str
    """Name of the set, unique in the section, such as ``instrument`` or ``mtat_top50_tagged``."""
    scores: Mapping[str, float]
    """Scores by name, such as ``roc_auc``; NaN if undefined."""
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Draws of scores on resampled recordings, float64 [replicates] by name of the score, for intervals."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Numbers of recordings, tags, queries and the like that the scores are of."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a report states, as values of JSON: the vocabulary and its digest, scores of each tag, settings
    chosen on the validation split."""
    protocol: str = ""
    """One sentence that says exactly how the scores were computed, and what is resampled for the intervals."""
    sample_sha256: str = ""
    """Digest of the recordings, queries or triplets that were scored; draws of equal ones are pairs. Empty if it is
    unknown."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A model with the recordings of a corpus that it has embedded."""

    encoder: Encoder
    """The model, which embeds texts on demand."""
    audio: EmbeddedRecordings | None
    """The recordings of the splits that the protocol needs; None if it needs no audio."""
    recordings: tuple[LabelledRecording, ...] = ()
    """All recordings of the corpus in ascending order of their ids, for protocols that need only their texts."""
    seed: int = 0
    """Seed of everything that is drawn."""
    replicates: int = REPLICATES
    """Number of draws for intervals; 0 computes none, as for the scores of a validation during training."""
    corrupted: "Callable[[Sequence[Corruption], str], Iterator[EmbeddedRecordings]] | None" = None
    """Yields the embedded recordings of a split under each of several corruptions; strength 0 embeds as much of them
    uncorrupted. None if the model cannot embed them, as with stored vectors."""
    training: ProbeTraining | None = None
    """What is trained in place of the heads of probes, such as the whole network; None for the heads."""

    @property
    def all_audio(self) -> EmbeddedRecordings:
        """The recordings of all splits that the protocol needs, of a protocol that needs some."""
        assert self.audio is not None, "a protocol that needs audio is not evaluated without it"
        return self.audio

    def of_split(self, split: str) -> EmbeddedRecordings:
        """Returns the embedded recordings of a split.

        Raises:
            EvaluationError: There are none.
        """
        if self.audio is None or all(each.split != split for each in self.audio.recordings):
            raise EvaluationError(f"the corpus has no embedded recordings in the split {split!r}")
        return self.audio.of_splits(split)

    def resampling(self, recordings: Sequence[LabelledRecording]) -> Resampling:
        """Returns draws of these recordings, those of one artist together; the same for every model."""
        return Resampling([each.artist for each in recordings], replicates=self.replicates, seed=self.seed)


def sample_digest(sample: Iterable[Sequence[str]]) -> str:
    """Returns the digest of what was scored, in its order, for :attr:`SetScores.sample_sha256`.

    Args:
        sample: Ids or texts of each part of it.
    """
    lines = "".join(json.dumps(list(part)) + "\n" for part in sample)
    return hashlib.sha256(lines.encode()).hexdigest()


def recordings_digest(recordings: Sequence[LabelledRecording]) -> str:
    """Returns the digest of recordings by their ids, in their order."""
    return sample_digest([each.recording_id] for each in recordings)


class EvaluationProtocol(Protocol):
    """Computes scores of a model on a corpus."""

    def on_split(self, split: str) -> "EvaluationProtocol":
        """Returns the protocol that scores the recordings of another split, ``train``, ``validation`` or ``test``."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits whose audio is embedded; empty if none is."""

    @property
    def needs_text(self) -> bool:
        """Whether the model must embed texts; models that cannot are left out, and named as left out."""

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores, one item for each set. Sets without anything to score are left out.

        Raises:
            EvaluationError: The corpus has nothing that the protocol needs.
        """


FittedScores = Callable[[EmbeddedRecordings], Iterator[SetScores]]
"""Yields the scores of a fitted model on recordings of the split that is scored."""


@runtime_checkable
class RecordingProtocol(EvaluationProtocol, Protocol):
    """A protocol that scores the recordings of one split."""

    @property
    def split(self) -> str:
        """The split."""

    def on_split(self, split: str) -> "RecordingProtocol":
        """Returns the protocol that scores the recordings of another split."""


@runtime_checkable
class FittedProtocol(RecordingProtocol, Protocol):
    """A protocol that fits something to other recordings than those that it scores, such as a probe."""

    def fit(self, model: Evaluated) -> FittedScores:
        """Fits once, to vectors of uncorrupted recordings, and returns what scores any vectors of the split.

        Raises:
            EvaluationError: The corpus has nothing that the protocol needs.
        """

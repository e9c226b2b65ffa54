"""The recordings that a probe is trained on, chosen by, and tested on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording

HELD_OUT_SHARE = 0.1
"""Share of the training split that replaces an absent validation split."""


@dataclass(frozen=True, eq=False)
class ProbeSplits:
    """The three splits of a corpus."""

    train: EmbeddedRecordings
    """The recordings to train on."""
    validation: EmbeddedRecordings
    """The recordings by which everything is chosen."""
    test: EmbeddedRecordings
    """The recordings that are scored."""
    scored: str
    """Name of the split that is scored."""
    sentence: str
    """How the recordings of :attr:`validation` were chosen, to end a description of the protocol."""

    @classmethod
    def of(cls, audio: EmbeddedRecordings, *, seed: int, scored: str = "test") -> "ProbeSplits":
        """Takes the splits of a corpus.

        Without a validation split, or if it is the one that is scored, random artists of the training split, with at
        least a tenth of its recordings, take its place; recordings of unknown artists count as artists of their own,
        and all do if there is one artist.

        Args:
            audio: All recordings.
            seed: Seed of the choice of artists.
            scored: Name of the split that is scored.

        Raises:
            EvaluationError: There are no recordings to train on, or none to test; or those to train on are scored.
        """
        if scored == "train":
            raise EvaluationError("probes are trained on the split train, so that they cannot be scored on it")
        train, validation, test = (
            [row for row, each in enumerate(audio.recordings) if each.split == split]
            for split in ("train", "validation", scored)
        )
        absent = [split for split, rows in (("train", train), (scored, test)) if not rows]
        if absent or len(train) < 2:
            missing = " and ".join(absent) or "train (more than one recording)"
            raise EvaluationError(
                f"probes are trained on the split train and tested on the split {scored}: the corpus lacks {missing}; "
                "prepare it with these splits, or choose a task without probes"
            )
        is_scored = scored == "validation"
        sentence = "the settings were chosen on the validation split"
        if is_scored or not validation:
            train, validation = _held_out(train, [audio.recordings[row] for row in train], seed)
            artists = "artists" if any(audio.recordings[row].artist for row in validation) else "recordings"
            why = (
                "the validation split is the one that is scored" if is_scored else "the corpus has no validation split"
            )
            sentence = (
                f"{why}, so the settings were chosen on {len(validation)} recordings "
                f"of the training split, which random {artists} of it are held out for"
            )
        return cls(audio.select(train), audio.select(validation), audio.select(test), scored, sentence)

    def where(self, keep: Callable[[LabelledRecording], bool]) -> "ProbeSplits":
        """Returns the splits with only the recordings for which ``keep`` is True; they may become empty."""
        train, validation, test = (part.where(keep) for part in (self.train, self.validation, self.test))
        return ProbeSplits(train, validation, test, self.scored, self.sentence)

    @property
    def are_filled(self) -> bool:
        """Whether each split has a recording."""
        return all(len(part.recordings) for part in (self.train, self.validation, self.test))

    @property
    def empty(self) -> str:
        """Names of the splits without recordings."""
        parts = {"train": self.train, "validation": self.validation, self.scored: self.test}
        return " and ".join(name for name, part in parts.items() if not part.recordings)

    @property
    def counts(self) -> dict[str, int]:
        """Number of recordings of each split, for the counts of a report."""
        return {
            "recordings": len(self.test.recordings),
            "train_recordings": len(self.train.recordings),
            "validation_recordings": len(self.validation.recordings),
        }


def _held_out(rows: list[int], recordings: list[LabelledRecording], seed: int) -> tuple[list[int], list[int]]:
    """Returns the rows to train on and those held out, both in ascending order."""
    groups: dict[object, list[int]] = {}
    single = len({each.artist for each in recordings}) == 1
    for row, recording in zip(rows, recordings, strict=True):
        groups.setdefault(row if single or not recording.artist else recording.artist, []).append(row)
    names = list(groups)
    held_out: list[int] = []
    for number in np.random.default_rng(seed).permutation(len(names))[:-1].tolist():
        held_out += groups[names[number]]
        if len(held_out) >= HELD_OUT_SHARE * len(rows):
            break
    return sorted(set(rows) - set(held_out)), sorted(held_out)

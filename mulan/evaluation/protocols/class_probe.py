"""Probes of classes and of keys: each recording is of exactly one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.classification import accuracy, macro_f1, macro_f1_draws
from mulan.evaluation.metrics.keys import weighted_key_scores
from mulan.evaluation.probes.probe import (
    FittedProbe,
    LabelledVectors,
    ProbeData,
    ProbeTraining,
    Quality,
    accuracy_of_best,
)
from mulan.evaluation.probes.splits import ProbeSplits
from mulan.evaluation.protocols.class_table import class_rows
from mulan.evaluation.protocols.probe_protocol import ProbeProtocol
from mulan.evaluation.protocols.probe_sets import (
    ClassifierHead,
    probed_sets,
    protocol_sentence,
    training_of,
)
from mulan.evaluation.protocols.protocol import Evaluated, FittedScores, SetScores, recordings_digest
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, multi_hot
from mulan.vocabularies.vocabulary import Vocabulary, vocabulary

_Values = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Values of recordings, float64 [recordings], given their classes and the predicted ones, both int64 [recordings]."""


@dataclass(frozen=True)
class ClassificationProbe(ProbeProtocol):
    """Predicts the class of recordings, such as their genre, their instrument or their pitch.

    Scores are the accuracy, and the F1 score with equal weights of the classes that occur in the test split. Recordings
    with none or several of the tags are left out of all splits, and counted. A recording of a class that the training
    split lacks counts as wrong.
    """

    vocabulary: str
    """Name of a list of :mod:`mulan.vocabularies`, or a category with a colon, such as ``genre:``."""
    name: str = ""
    """Name of the set; by default that of the list or category."""
    head: ClassifierHead = "mlp"
    """What is trained."""

    def fit(self, model: Evaluated) -> FittedScores:
        """Trains a probe of each set, and returns what scores recordings with them.

        Raises:
            EvaluationError: A split has no recordings with exactly one of the tags, or the training split has one class
                only.
        """
        splits = ProbeSplits.of(model.all_audio, seed=model.seed, scored=self.split)
        fitted = [
            _FittedClasses.of(model, splits, tags, self.head, accuracy_of_best)
            for tags in probed_sets(self.vocabulary, splits)
        ]

        def scores_of(test: EmbeddedRecordings) -> Iterator[SetScores]:
            for each in fitted:
                yield each.classified(test).scores(self.name or each.tags.name)

        return scores_of


@dataclass(frozen=True)
class KeyProbe(ProbeProtocol):
    """Predicts the key of recordings, with tags such as ``key:Eb minor``.

    The score is the weighted score of MIREX, by which settings are chosen too; beside it the accuracy and F1, as in
    :class:`ClassificationProbe`.
    """

    name: str = "keys"
    """Name of the set."""
    head: ClassifierHead = "mlp"
    """What is trained."""

    def fit(self, model: Evaluated) -> FittedScores:
        """Trains a probe, and returns what scores recordings with it.

        Raises:
            EvaluationError: A split has no recordings with exactly one key, or the training split has one key only.
        """
        splits = ProbeSplits.of(model.all_audio, seed=model.seed, scored=self.split)
        (tags,) = probed_sets("keys", splits)
        fitted = _FittedClasses.of(model, splits, tags, self.head, _mean_weighted_score)

        def scores_of(test: EmbeddedRecordings) -> Iterator[SetScores]:
            classified = fitted.classified(test)
            yield classified.scores(self.name, "weighted_score", _weighted_scores)

        return scores_of


def _weighted_scores(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the weighted score of each recording, given the numbers of keys, int64 [recordings]."""
    keys = [split_tag(tag)[1] for tag in vocabulary("keys").tags]
    return weighted_key_scores([keys[number] for number in truth], [keys[number] for number in predicted])


def _mean_weighted_score(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(_weighted_scores(truth, predicted.argmax(axis=1)).mean())


@dataclass(frozen=True, eq=False)
class _FittedClasses:
    """The trained probe of a set of classes."""

    model: Evaluated
    splits: ProbeSplits
    """Recordings with exactly one class."""
    tags: Vocabulary
    untrained: tuple[str, ...]
    """Classes without recordings to train on."""
    constant: int
    """Number of the class that is the best prediction for all recordings of the training split."""
    training: ProbeTraining
    probe: FittedProbe

    @classmethod
    def of(
        cls, model: Evaluated, whole: ProbeSplits, tags: Vocabulary, head: ClassifierHead, quality: Quality
    ) -> "_FittedClasses":
        splits = whole.where(partial(_has_exactly_one_of, frozenset(tags.tags)))
        if not splits.are_filled:
            raise EvaluationError(f"a split has no recordings with exactly one of the tags of {tags.name}")
        train, validation = (_labelled(part, tags) for part in (splits.train, splits.validation))
        trained = set(train.truth.tolist())
        if len(trained) < 2:
            raise EvaluationError(f"the split train has recordings of one class of {tags.name} only")
        training = training_of(head, model)
        probe = training.fit(ProbeData("class", len(tags.tags), train, validation, quality, model.seed))
        untrained = tuple(tag for number, tag in enumerate(tags.tags) if number not in trained)
        constant = _best_constant(train.truth, len(tags.tags), quality)
        return cls(model, splits, tags, untrained, constant, training, probe)

    def classified(self, test: EmbeddedRecordings) -> "_Classified":
        """Predicts the classes of those recordings that are of exactly one."""
        kept = test.where(partial(_has_exactly_one_of, frozenset(self.tags.tags)))
        splits, labelled = replace(self.splits, test=kept), _labelled(kept, self.tags)
        return _Classified(
            model=self.model,
            recordings=kept.recordings,
            tags=self.tags,
            truth=labelled.truth,
            predicted=self.probe.predict(kept).argmax(axis=2),
            constant=np.full_like(labelled.truth, self.constant),
            counts={
                **splits.counts,
                "left_out": len(test.recordings) - len(kept.recordings),
                "classes": len(self.tags.tags),
                "tested_classes": len(set(labelled.truth.tolist())),
                "untrained_classes": len(self.untrained),
            },
            details={
                "split": splits.scored,
                "vocabulary": self.tags.name,
                "vocabulary_sha256": self.tags.sha256,
                "head": self.training.name,
                "chosen": dict(self.probe.chosen),
                "untrained": list(self.untrained),
            },
            protocol=protocol_sentence(self.training, "only those with exactly one of the tags", splits, self.model),
        )


@dataclass(frozen=True, eq=False)
class _Classified:
    """The predicted classes of the split that is scored."""

    model: Evaluated
    recordings: tuple[LabelledRecording, ...]
    """Recordings with exactly one class."""
    tags: Vocabulary
    truth: np.ndarray
    """Number of the class, int64 [recordings]."""
    predicted: np.ndarray
    """Number of the predicted class, int64 [runs, recordings]."""
    constant: np.ndarray
    """What the best probe predicts that ignores its input, int64 [recordings]."""
    counts: dict[str, int]
    details: dict[str, Any]
    protocol: str

    def scores(self, name: str, other: str = "", values_of: _Values | None = None) -> SetScores:
        """Returns the scores.

        Args:
            name: Name of the set.
            other: Name of a score in addition.
            values_of: Values of the recordings, of which it is the mean, given their classes and the predicted ones.
        """
        resampling = self.model.resampling(self.recordings)
        classes, right = len(self.tags.tags), (self.predicted == self.truth).mean(axis=0)
        votes = np.stack([(self.predicted == number).sum(axis=0) for number in range(classes)], axis=1)
        draws = {
            "accuracy": resampling.means(right),
            "macro_f1": np.mean(
                [macro_f1_draws(self.truth, run, classes=classes, resampling=resampling) for run in self.predicted],
                axis=0,
            ),
        }
        if values_of is not None:
            values = np.mean([values_of(self.truth, run) for run in self.predicted], axis=0)
            draws = {other: resampling.means(values), **draws}
        runs = [self._scores_of(run, other, values_of) for run in self.predicted]
        return SetScores(
            section="probes",
            name=name,
            scores={score: float(np.mean([run[score] for run in runs])) for score in draws},
            draws=draws if self.model.replicates else {},
            counts={**self.counts, "artists_or_recordings": resampling.num_groups},
            details={
                **self.details,
                "chance": self._scores_of(self.constant, other, values_of),
                "runs": runs,
                "classes": class_rows(self.truth, right, votes, self.tags.tags, resampling),
            },
            protocol=self.protocol,
            sample_sha256=recordings_digest(self.recordings),
        )

    def _scores_of(self, predicted: np.ndarray, other: str, values_of: _Values | None) -> dict[str, float]:
        """Returns the scores of predictions, int64 [recordings]."""
        return {
            **({other: float(values_of(self.truth, predicted).mean())} if values_of is not None else {}),
            "accuracy": accuracy(self.truth, predicted),
            "macro_f1": float(macro_f1(self.truth, predicted, classes=len(self.tags.tags))[0]),
        }


def _best_constant(truth: np.ndarray, classes: int, quality: Quality) -> int:
    """Returns the class that has the highest quality as the prediction for all recordings, a mean over these."""
    occurring, counts = np.unique(truth, return_counts=True)
    alone = np.eye(classes)[:, None]

    def quality_of(predicted: int) -> float:
        each = [quality(occurring[[row]], alone[predicted]) for row in range(len(occurring))]
        return float(counts @ np.array(each))

    return max(range(classes), key=quality_of)


def _has_exactly_one_of(tags: frozenset[str], recording: LabelledRecording) -> bool:
    return len(tags.intersection(recording.tags)) == 1


def _labelled(audio: EmbeddedRecordings, tags: Vocabulary) -> LabelledVectors:
    return LabelledVectors(audio, multi_hot(audio.recordings, tags.tags).argmax(axis=1))

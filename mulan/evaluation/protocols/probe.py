"""Probes of tags and of numbers: what the frozen vectors of a model contain, beyond what its text tower can ask for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.regression import r2_draws, r2_scores
from mulan.evaluation.probes.probe import LabelledVectors, ProbeData, mean_r2, mean_roc_auc
from mulan.evaluation.probes.splits import ProbeSplits
from mulan.evaluation.protocols.probe_sets import (
    PROBED_SPLITS,
    ClassifierHead,
    RegressionHead,
    probe_splits,
    probed_sets,
    protocol_sentence,
    training_of,
)
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.protocols.tag_table import TagTable
from mulan.evaluation.recordings import LabelledRecording, multi_hot
from mulan.vocabularies.vocabulary import Vocabulary


@dataclass(frozen=True)
class TaggingProbe:
    """Predicts tags, of which a recording may have any number.

    Scores are the ROC-AUC with equal weights of the tags, the mean average precision, and the prevalence. Tags that no
    recording of the training split has, or all have, are not predicted; they are counted and named.
    """

    vocabulary: str | None = None
    """Name of a list of :mod:`mulan.vocabularies`; a category with a colon, such as ``instrument:``, for all its tags
    in the corpus; or None for the tags of all categories, each a set."""
    name: str = ""
    """Name of the set; by default that of the list or category."""
    head: ClassifierHead = "logistic"
    """What is trained."""
    recordings: Literal["all", "tagged"] = "all"
    """Which recordings of the three splits are used: ``all``, also those without any of the tags, or only the
    ``tagged`` ones."""

    splits: ClassVar[tuple[str, ...]] = PROBED_SPLITS
    needs_text: ClassVar[bool] = False

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores of each set.

        Raises:
            EvaluationError: There are no recordings to train on or to test, or none has one of the tags.
        """
        splits = probe_splits(model)
        for tags in probed_sets(self.vocabulary, splits):
            scores = self._scores(model, splits, tags)
            if scores is not None:
                yield scores

    def _scores(self, model: Evaluated, splits: ProbeSplits, tags: Vocabulary) -> SetScores | None:
        wanted = set(tags.tags)
        if self.recordings == "tagged":
            splits = splits.where(lambda recording: not wanted.isdisjoint(recording.tags))
        predicted_tags = _trainable(splits.train.recordings, tags.tags)
        if not splits.are_filled or not predicted_tags:
            return None
        train, validation = (
            LabelledVectors(part, multi_hot(part.recordings, predicted_tags))
            for part in (splits.train, splits.validation)
        )
        data = ProbeData("tags", len(predicted_tags), train, validation, mean_roc_auc, model.seed)
        training, truth = training_of(self.head, model), multi_hot(splits.test.recordings, predicted_tags)
        probe = training.fit(data)
        resampling = model.resampling(splits.test.recordings)
        runs = probe.predict(splits.test)
        table = _mean_table([TagTable.of(run, truth, predicted_tags, resampling) for run in runs])
        if not table.tagging.num_tags:
            return None
        untrained = [tag for tag in tags.tags if tag not in predicted_tags]
        which = "only those with one of the tags" if self.recordings == "tagged" else "also those with none of the tags"
        return SetScores(
            section="probes",
            name=self.name or tags.name,
            scores=table.scores,
            draws=table.draws,
            counts={
                **splits.counts,
                "artists_or_recordings": resampling.num_groups,
                "untagged": int((~truth.any(axis=1)).sum()),
                "tags": len(tags.tags),
                "scored_tags": table.tagging.num_tags,
                "untrained_tags": len(untrained),
                "positives": int(truth.sum()),
            },
            details={
                "vocabulary": tags.name,
                "vocabulary_sha256": tags.sha256,
                "head": training.name,
                "chosen": dict(probe.chosen),
                "tags": table.rows,
                "untrained": untrained,
                "without_scores": list(table.tagging.skipped),
                "worst": table.worst,
            },
            protocol=protocol_sentence(training, which, splits),
        )


@dataclass(frozen=True)
class RegressionProbe:
    """Predicts numbers, such as the arousal and valence of Emomusic.

    Scores are R² of each target, and ``r2``, their mean. Targets are standardised with the mean and the population
    deviation of the recordings of the training and validation splits together.
    """

    name: str
    """Name of the set."""
    targets: tuple[str, ...] = ("arousal", "valence")
    """Names of the targets."""
    head: RegressionHead = "mlp"
    """What is trained."""

    splits: ClassVar[tuple[str, ...]] = PROBED_SPLITS
    needs_text: ClassVar[bool] = False

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores.

        Raises:
            EvaluationError: A split has no recordings with all targets.
        """
        whole = probe_splits(model)
        splits = whole.where(lambda recording: set(self.targets) <= set(recording.targets or {}))
        if not splits.are_filled:
            raise EvaluationError(
                f"a split has no recordings with the targets {', '.join(self.targets)}, which a probe is to predict"
            )
        parts = [
            np.array([[(each.targets or {})[name] for name in self.targets] for each in part.recordings])
            for part in (splits.train, splits.validation, splits.test)
        ]
        known = np.concatenate(parts[:2])
        deviation = known.std(axis=0)
        train, validation, truth = (
            (part - known.mean(axis=0)) / np.where(deviation > 0, deviation, 1) for part in parts
        )
        data = ProbeData(
            "numbers",
            len(self.targets),
            LabelledVectors(splits.train, train),
            LabelledVectors(splits.validation, validation),
            mean_r2,
            model.seed,
        )
        training, resampling = training_of(self.head, model), model.resampling(splits.test.recordings)
        probe = training.fit(data)
        runs = probe.predict(splits.test)
        of_targets = np.mean([r2_scores(truth, run)[0] for run in runs], axis=0)
        draws = np.mean([r2_draws(truth, run, resampling) for run in runs], axis=0)
        names = [f"r2_{target}" for target in self.targets]
        yield SetScores(
            section="probes",
            name=self.name,
            scores={"r2": float(of_targets.mean()), **dict(zip(names, of_targets.tolist(), strict=True))},
            draws={"r2": draws.mean(axis=1), **dict(zip(names, draws.T, strict=True))} if model.replicates else {},
            counts={
                **splits.counts,
                "artists_or_recordings": resampling.num_groups,
                "left_out": len(whole.test.recordings) - len(splits.test.recordings),
            },
            details={
                "head": training.name,
                "chosen": dict(probe.chosen),
                "mean": dict(zip(self.targets, known.mean(axis=0).tolist(), strict=True)),
                "deviation": dict(zip(self.targets, deviation.tolist(), strict=True)),
            },
            protocol=protocol_sentence(training, "only those with all targets", splits),
        )


def _trainable(recordings: Sequence[LabelledRecording], tags: Sequence[str]) -> tuple[str, ...]:
    """Returns the tags that some of the recordings have and others lack."""
    labels = multi_hot(recordings, tags)
    return tuple(tag for tag, column in zip(tags, labels.T, strict=True) if column.any() and not column.all())


def _mean_table(runs: Sequence[TagTable]) -> TagTable:
    """Returns the mean of the scores, and of their draws, over runs with the same tags and recordings."""
    first = runs[0].tagging
    per_tag = tuple(
        replace(
            scores[0],
            roc_auc=float(np.mean([score.roc_auc for score in scores])),
            average_precision=float(np.mean([score.average_precision for score in scores])),
        )
        for scores in zip(*(run.tagging.per_tag for run in runs), strict=True)
    )
    tagging = replace(
        first,
        roc_auc=float(np.mean([run.tagging.roc_auc for run in runs])),
        map=float(np.mean([run.tagging.map for run in runs])),
        per_tag=per_tag,
    )
    draws = (
        np.mean([run.roc_auc_draws for run in runs], axis=0),
        np.mean([run.average_precision_draws for run in runs], axis=0),
    )
    return TagTable(tagging, *draws)

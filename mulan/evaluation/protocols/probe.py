"""Probes of tags and of numbers: what the frozen vectors of a model contain, beyond what its text tower can ask for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from mulan.data.errors import MAX_FAULTS
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.regression import r2_draws, r2_scores
from mulan.evaluation.probes.probe import FittedProbe, LabelledVectors, ProbeData, ProbeTraining, mean_r2, mean_roc_auc
from mulan.evaluation.probes.splits import ProbeSplits
from mulan.evaluation.protocols.probe_protocol import ProbeProtocol
from mulan.evaluation.protocols.probe_sets import (
    ClassifierHead,
    RegressionHead,
    probed_sets,
    protocol_sentence,
    training_of,
)
from mulan.evaluation.protocols.protocol import Evaluated, FittedScores, SetScores, recordings_digest
from mulan.evaluation.protocols.tag_table import TagTable
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording, multi_hot
from mulan.vocabularies.vocabulary import Vocabulary


@dataclass(frozen=True)
class TaggingProbe(ProbeProtocol):
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

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores of each set.

        Raises:
            EvaluationError: As in :meth:`fit`; or, after the others were yielded, sets have no tag to score.
        """
        found = set()
        for scores in super().evaluate(model):
            found.add(scores.details["vocabulary"])
            yield scores
        splits = ProbeSplits.of(model.all_audio, seed=model.seed, scored=self.split)
        empty = [tags.name for tags in probed_sets(self.vocabulary, splits) if tags.name not in found]
        if empty:
            raise EvaluationError(
                f"no tag of {', '.join(empty)} can be scored: a probe needs recordings with and without the tag in the "
                f"splits train and {self.split}"
            )

    def fit(self, model: Evaluated) -> FittedScores:
        """Trains a probe of each set, and returns what scores recordings with them.

        Categories of which nothing can be trained or scored are left out, if there are others.

        Raises:
            EvaluationError: There are no recordings to train on or to test, or there is no set of which a tag can be
                trained and scored; names the reason of each.
        """
        splits = ProbeSplits.of(model.all_audio, seed=model.seed, scored=self.split)
        fitted, reasons = [], []
        for tags in probed_sets(self.vocabulary, splits):
            try:
                fitted.append(self._fitted(model, splits, tags))
            except EvaluationError as error:
                reasons.append(str(error))
        if not fitted:
            raise EvaluationError(_joined(reasons))

        def scores_of(test: EmbeddedRecordings) -> Iterator[SetScores]:
            found, unscored = [], list(reasons)
            for each in fitted:
                try:
                    found.append(each.scores(test))
                except EvaluationError as error:
                    unscored.append(str(error))
            if not found:
                raise EvaluationError(_joined(unscored))
            yield from found

        return scores_of

    def _fitted(self, model: Evaluated, splits: ProbeSplits, tags: Vocabulary) -> "_FittedTags":
        """Trains the probe of a set.

        Raises:
            EvaluationError: There is nothing to train on or to test.
        """
        keep = partial(_has_one_of, frozenset(tags.tags)) if self.recordings == "tagged" else _has_anything
        splits = splits.where(keep)
        if not splits.are_filled:
            raise EvaluationError(f"{tags.name}: no recording of the split {splits.empty} has one of the tags to probe")
        predicted = _trainable(splits.train.recordings, tags.tags)
        if not predicted:
            raise EvaluationError(
                f"{tags.name}: no tag can be probed, since none is of some recordings of the training split, but not "
                "of all"
            )
        train, validation = (
            LabelledVectors(part, multi_hot(part.recordings, predicted)) for part in (splits.train, splits.validation)
        )
        data = ProbeData("tags", len(predicted), train, validation, mean_roc_auc, model.seed)
        training = training_of(self.head, model)
        return _FittedTags(self, model, splits, keep, tags, predicted, training, training.fit(data))


@dataclass(frozen=True, eq=False)
class _FittedTags:
    """The trained probe of a set of tags."""

    protocol: TaggingProbe
    model: Evaluated
    splits: ProbeSplits
    """The recordings that are used."""
    keep: Callable[[LabelledRecording], bool]
    """Whether a recording is used."""
    tags: Vocabulary
    predicted: tuple[str, ...]
    """The tags that the probe predicts."""
    training: ProbeTraining
    probe: FittedProbe

    def scores(self, test: EmbeddedRecordings) -> SetScores:
        """Returns the scores of recordings.

        Raises:
            EvaluationError: No tag can be scored.
        """
        splits = replace(self.splits, test=test.where(self.keep))
        truth = multi_hot(splits.test.recordings, self.predicted)
        resampling = self.model.resampling(splits.test.recordings)
        runs = self.probe.predict(splits.test)
        tables = [TagTable.of(run, truth, self.predicted, resampling) for run in runs]
        table = _mean_table(tables)
        if not table.tagging.num_tags:
            raise EvaluationError(
                f"{self.tags.name}: no tag can be scored, since none that a probe predicts is of some recordings of "
                f"the split {splits.scored}, but not of all"
            )
        tags, is_tagged = self.tags, self.protocol.recordings == "tagged"
        untrained = [tag for tag in tags.tags if tag not in self.predicted]
        which = "only those with one of the tags" if is_tagged else "also those with none of the tags"
        return SetScores(
            section="probes",
            name=self.protocol.name or tags.name,
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
                "split": splits.scored,
                "vocabulary": tags.name,
                "vocabulary_sha256": tags.sha256,
                "head": self.training.name,
                "chosen": dict(self.probe.chosen),
                "chance": table.chance,
                "runs": [{name: each.scores[name] for name in ("roc_auc", "map")} for each in tables],
                "tags": table.rows,
                "untrained": untrained,
                "without_scores": list(table.tagging.skipped),
                "worst": table.worst,
            },
            protocol=protocol_sentence(self.training, which, splits, self.model),
            sample_sha256=recordings_digest(splits.test.recordings),
        )


@dataclass(frozen=True)
class RegressionProbe(ProbeProtocol):
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

    def fit(self, model: Evaluated) -> FittedScores:
        """Trains a probe, and returns what scores recordings with it.

        Raises:
            EvaluationError: A split has no recordings with all targets.
        """
        whole = ProbeSplits.of(model.all_audio, seed=model.seed, scored=self.split)
        splits = whole.where(self._has_targets)
        if not splits.are_filled:
            raise EvaluationError(
                f"a split has no recordings with the targets {', '.join(self.targets)}, which a probe is to predict"
            )
        train, validation = map(self._numbers, (splits.train, splits.validation))
        known = np.concatenate([train, validation])
        scale = _TargetScale(known.mean(axis=0), known.std(axis=0))
        data = ProbeData(
            "numbers",
            len(self.targets),
            LabelledVectors(splits.train, scale.standardised(train)),
            LabelledVectors(splits.validation, scale.standardised(validation)),
            mean_r2,
            model.seed,
        )
        training = training_of(self.head, model)
        probe = training.fit(data)

        def scores_of(test: EmbeddedRecordings) -> Iterator[SetScores]:
            kept = test.where(self._has_targets)
            left_out = len(test.recordings) - len(kept.recordings)
            yield self._scores(model, replace(splits, test=kept), scale, training, probe, left_out)

        return scores_of

    def _has_targets(self, recording: LabelledRecording) -> bool:
        return set(self.targets) <= set(recording.targets or {})

    def _numbers(self, audio: EmbeddedRecordings) -> np.ndarray:
        """Returns the targets of recordings, float64 [recordings, targets]."""
        return np.array([[(each.targets or {})[name] for name in self.targets] for each in audio.recordings])

    def _scores(
        self,
        model: Evaluated,
        splits: ProbeSplits,
        scale: "_TargetScale",
        training: ProbeTraining,
        probe: FittedProbe,
        left_out: int,
    ) -> SetScores:
        truth, resampling = scale.standardised(self._numbers(splits.test)), model.resampling(splits.test.recordings)
        runs = probe.predict(splits.test)
        of_runs = np.stack([r2_scores(truth, run)[0] for run in runs])
        of_targets = of_runs.mean(axis=0)
        draws = np.mean([r2_draws(truth, run, resampling) for run in runs], axis=0)
        names = [f"r2_{target}" for target in self.targets]
        return SetScores(
            section="probes",
            name=self.name,
            scores={"r2": float(of_targets.mean()), **dict(zip(names, of_targets.tolist(), strict=True))},
            draws={"r2": draws.mean(axis=1), **dict(zip(names, draws.T, strict=True))} if model.replicates else {},
            counts={**splits.counts, "artists_or_recordings": resampling.num_groups, "left_out": left_out},
            details={
                "split": splits.scored,
                "head": training.name,
                "chosen": dict(probe.chosen),
                "chance": dict.fromkeys(["r2", *names], 0.0),
                "runs": [{"r2": float(run.mean()), **dict(zip(names, run.tolist(), strict=True))} for run in of_runs],
                "mean": dict(zip(self.targets, scale.mean.tolist(), strict=True)),
                "deviation": dict(zip(self.targets, scale.deviation.tolist(), strict=True)),
            },
            protocol=protocol_sentence(training, "only those with all targets", splits, model),
            sample_sha256=recordings_digest(splits.test.recordings),
        )


@dataclass(frozen=True, eq=False)
class _TargetScale:
    """How targets are standardised."""

    mean: np.ndarray
    """float64 [targets]."""
    deviation: np.ndarray
    """float64 [targets]; 0 of targets that do not vary, which are only centred."""

    def standardised(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / np.where(self.deviation > 0, self.deviation, 1)


def _joined(reasons: Sequence[str]) -> str:
    """Returns the reasons in one line, up to twenty of them."""
    more = f"; and {len(reasons) - MAX_FAULTS} more" if len(reasons) > MAX_FAULTS else ""
    return "; ".join(reasons[:MAX_FAULTS]) + more


def _has_one_of(tags: frozenset[str], recording: LabelledRecording) -> bool:
    return not tags.isdisjoint(recording.tags)


def _has_anything(recording: LabelledRecording) -> bool:
    return True


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

"""Zero-shot tagging and classification: tags are found by the similarity of recordings and prompts (MuLan §4.1.1)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from mulan.data.corpus.metadata import split_tag
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.metrics.resampling import Resampling
from mulan.evaluation.metrics.retrieval import rounded
from mulan.evaluation.protocols.class_table import class_rows
from mulan.evaluation.protocols.prompts import PromptEnsemble
from mulan.evaluation.protocols.protocol import RESAMPLED_RECORDINGS, Evaluated, SetScores, recordings_digest
from mulan.evaluation.protocols.scored_split import ScoredSplit
from mulan.evaluation.protocols.tag_table import TagTable
from mulan.evaluation.protocols.templates import TAGS_ALONE, VERBATIM, PromptTemplates
from mulan.evaluation.recordings import LabelledRecording, multi_hot
from mulan.vocabularies.vocabulary import Vocabulary, vocabulary

WhichRecordings = Literal["all", "tagged"]


@dataclass(frozen=True)
class _ZeroShot(ScoredSplit):
    """What protocols have in common that compare recordings with prompts."""

    templates: PromptTemplates = field(default=TAGS_ALONE, kw_only=True)
    """Templates of the prompts."""

    needs_text: ClassVar[bool] = True

    def prompted(self, templates: PromptTemplates) -> Self:
        """Returns the protocol with other templates."""
        return replace(self, templates=templates)


@dataclass(frozen=True)
class ZeroShotTagging(_ZeroShot):
    """Ranks the recordings of a split for each tag, by the cosine similarity of their vectors and the tag's prompt.

    Scores are the ROC-AUC with equal weights of the tags, the mean average precision, and the prevalence, which is the
    average precision of equal similarities.
    """

    recordings: WhichRecordings
    """Which recordings are ranked: ``all``, also those without any of the tags, or only the ``tagged`` ones. ``tagged``
    is right where nothing is known about recordings without a tag; both are in use for MagnaTagATune, with an average
    precision that differs by several points."""
    name: str = ""
    """Name of the set; sets without a vocabulary are named by their categories."""
    vocabulary: str | None = None
    """Name of a list of :mod:`mulan.vocabularies`; None for all tags of the split, each category a set."""

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores of each set.

        Raises:
            EvaluationError: The split has no recordings, or none with one of the tags.
        """
        audio = model.of_split(self.split)
        means = audio.means
        for tags in self._sets(audio.recordings):
            labels = _labels(audio.recordings, tags, self.split)
            rows = np.flatnonzero(labels.any(axis=1)) if self.recordings == "tagged" else np.arange(len(labels))
            which = "with one of the tags" if self.recordings == "tagged" else "also those with none of the tags"
            chosen = [audio.recordings[row] for row in rows]
            yield _Ranking.of(model, means[rows], labels[rows], chosen, tags, self.templates).scores(
                name=self.name or tags.name,
                protocol=f"Cosine similarity of recording and prompt; recordings of the split {self.split}, {which}; "
                f"mean over tags, ties count half; {RESAMPLED_RECORDINGS}.",
            )

    def _sets(self, recordings: Sequence[LabelledRecording]) -> Iterator[Vocabulary]:
        if self.vocabulary is not None:
            yield vocabulary(self.vocabulary)
            return
        tags = sorted({tag for recording in recordings for tag in recording.tags})
        if not tags:
            raise EvaluationError(f"no recording of the split {self.split!r} has tags, which zero-shot tagging needs")
        for category in sorted({split_tag(tag)[0] for tag in tags}):
            yield Vocabulary(category, tuple(tag for tag in tags if split_tag(tag)[0] == category))


@dataclass(frozen=True)
class ZeroShotClassification(_ZeroShot):
    """Classifies the recordings of a split by the most similar prompt, where each recording is of one class.

    Only recordings with exactly one of the tags are classified. If several prompts are equally similar, a recording
    counts as 1/n, which is the probability that a random choice among the n is right. Beside the accuracy, each class
    is scored against the others as in :class:`ZeroShotTagging`.
    """

    name: str
    """Name of the set."""
    vocabulary: str
    """Name of a list of :mod:`mulan.vocabularies`, the classes."""

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores.

        Raises:
            EvaluationError: The split has no recordings, or none with exactly one of the tags.
        """
        audio, tags = model.of_split(self.split), vocabulary(self.vocabulary)
        labels = _labels(audio.recordings, tags, self.split)
        rows = np.flatnonzero(labels.sum(axis=1) == 1)
        if not len(rows):
            raise EvaluationError(f"every recording has several tags of {tags.name}, which are no classes then")
        chosen = [audio.recordings[row] for row in rows]
        ranking = _Ranking.of(model, audio.means[rows], labels[rows], chosen, tags, self.templates)
        nearest = ranking.similarity == ranking.similarity.max(axis=1, keepdims=True)
        credit = (nearest & ranking.labels).sum(axis=1) / nearest.sum(axis=1)
        draws = {"accuracy": ranking.resampling.means(credit)} if model.replicates else {}
        yield ranking.scores(
            name=self.name,
            protocol=f"Most similar of {len(tags.tags)} prompts by cosine similarity, n equal ones count 1/n; "
            f"recordings of the split {self.split} with exactly one of the tags; {RESAMPLED_RECORDINGS}.",
            scores={"accuracy": float(credit.mean())},
            chance={"accuracy": 1 / len(tags.tags)},
            draws=draws,
            counts={"left_out": len(labels) - len(rows)},
            details={
                "classes": class_rows(
                    ranking.labels.argmax(axis=1), credit, nearest.astype(np.int64), tags.tags, ranking.resampling
                )
            },
        )


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Recordings that are ranked for each tag of a list."""

    tags: Vocabulary
    ensemble: PromptEnsemble
    similarity: np.ndarray
    """Cosine similarity, float64 [recordings, tags]."""
    labels: np.ndarray
    """Whether a recording has a tag, bool [recordings, tags]."""
    table: TagTable
    templates: PromptTemplates
    recordings: Sequence[LabelledRecording]
    resampling: Resampling
    """Draws of the recordings."""

    @classmethod
    def of(
        cls,
        model: Evaluated,
        means: np.ndarray,
        labels: np.ndarray,
        recordings: Sequence[LabelledRecording],
        tags: Vocabulary,
        templates: PromptTemplates,
    ) -> "_Ranking":
        ensemble = PromptEnsemble(model.encoder, tags.tags, templates)
        similarity = rounded(means.astype(np.float64) @ ensemble.vectors.T)
        resampling = model.resampling(recordings)
        table = TagTable.of(similarity, labels, tags.tags, resampling)
        return cls(tags, ensemble, similarity, labels, table, templates, recordings, resampling)

    def scores(
        self,
        *,
        name: str,
        protocol: str,
        scores: dict[str, float] | None = None,
        chance: dict[str, float] | None = None,
        draws: dict[str, np.ndarray] | None = None,
        counts: dict[str, int] | None = None,
        details: dict[str, Any] | None = None,
    ) -> SetScores:
        """Returns the scores of all tags, and others in addition."""
        categories = sorted({split_tag(tag)[0] for tag in self.tags.tags})
        used = {category: list(self.templates.of(category)) for category in categories}
        unscored = "" if self.table.tagging.num_tags else " No tag can be scored: all recordings have it, or none."
        return SetScores(
            section="zero_shot",
            name=name,
            scores={**(scores or {}), **self.table.scores},
            draws={**(draws or {}), **self.table.draws},
            counts={
                "recordings": len(self.labels),
                "artists_or_recordings": self.resampling.num_groups,
                "untagged": int((~self.labels.any(axis=1)).sum()),
                "tags": len(self.tags.tags),
                "scored_tags": self.table.tagging.num_tags,
                "positives": int(self.labels.sum()),
                **(counts or {}),
            },
            details={
                "split": self.recordings[0].split,
                "vocabulary": self.tags.name,
                "vocabulary_sha256": self.tags.sha256,
                "chance": {**(chance or {}), **self.table.chance},
                "templates": used,
                "prompts": dict(self.ensemble.prompts),
                "tags": self.table.rows,
                "without_scores": list(self.table.tagging.skipped),
                "worst": self.table.worst,
                "negations": self.table.negations(self.tags.tags, self.ensemble.vectors),
                **(details or {}),
            },
            protocol=f"{protocol}{_described(used)}{unscored}",
            sample_sha256=recordings_digest(self.recordings),
        )


def _described(templates: Mapping[str, list[str]]) -> str:
    """Says which templates prompts have, verbatim; nothing if they are the texts of the tags."""
    others = {category: used for category, used in templates.items() if tuple(used) != VERBATIM}
    listed = "; ".join(f"of {category} {', '.join(map(repr, used))}" for category, used in others.items())
    return f" Prompts have the templates, of which the mean is taken: {listed}." if others else ""


def _labels(recordings: Sequence[LabelledRecording], tags: Vocabulary, split: str) -> np.ndarray:
    """Returns bool [recordings, tags].

    Raises:
        EvaluationError: No recording has one of the tags.
    """
    labels = multi_hot(recordings, tags.tags)
    if not labels.any():
        found = Counter(tag for recording in recordings for tag in recording.tags).most_common(3)
        named = f"its tags are such as {', '.join(tag for tag, _ in found)}" if found else "it has no tags"
        raise EvaluationError(
            f"no recording of the split {split!r} has a tag of {tags.name}, such as {tags.tags[0]}; {named}"
        )
    return labels

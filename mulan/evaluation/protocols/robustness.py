"""Robustness of a model: the scores of a protocol on corrupted recordings (SemiSupCon)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from mulan.evaluation.corruptions import CORRUPTIONS, STRENGTHS, Corruption
from mulan.evaluation.embedding.windows import CORRUPTED_S
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.prompts import RememberedTexts
from mulan.evaluation.protocols.protocol import Evaluated, FittedProtocol, FittedScores, RecordingProtocol, SetScores
from mulan.evaluation.protocols.templates import PromptedProtocol, PromptTemplates
from mulan.evaluation.recordings import EmbeddedRecordings


@dataclass(frozen=True)
class Robustness:
    """Computes one score of another protocol on recordings that are corrupted at strengths 0 to 5.

    Only recordings of the split that the protocol scores are corrupted. What it fits to others is the same at all
    strengths: a :class:`FittedProtocol` is fitted once, and any other one again each time, to the same vectors with the
    same seed.
    """

    base: RecordingProtocol
    """The protocol."""
    score: str
    """Name of the score, such as ``roc_auc``; sets without it are left out."""
    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    """Names of the corruptions, at least one."""

    @property
    def split(self) -> str:
        """The split whose recordings are corrupted and scored."""
        return self.base.split

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the protocol."""
        return self.base.splits

    @property
    def needs_text(self) -> bool:
        """Whether the protocol needs texts."""
        return self.base.needs_text

    def on_split(self, split: str) -> "Robustness":
        """Returns the protocol for corrupted recordings of another split."""
        return replace(self, base=self.base.on_split(split))

    def prompted(self, templates: PromptTemplates) -> "Robustness":
        """Returns the protocol with these templates, if it has prompts."""
        return replace(self, base=self.base.prompted(templates)) if isinstance(self.base, PromptedProtocol) else self

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields a set for each corruption and each set of the protocol; its scores are ``strength_0`` to ``_5``.

        Raises:
            EvaluationError: The model cannot embed corrupted recordings, the protocol's sets lack the score, or the
                corpus has nothing that the protocol needs.
        """
        if model.corrupted is None:
            raise EvaluationError(
                f"{model.encoder.info.name} cannot embed corrupted recordings, which robustness needs: it does not "
                "compute vectors of audio"
            )
        embed = model.corrupted
        scores_of = self._fit(replace(model, encoder=RememberedTexts(model.encoder)))
        strengths = {name: [Corruption(name, strength) for strength in STRENGTHS[1:]] for name in self.corruptions}
        # not model.audio, of which whole recordings may have been embedded
        corruptions = [Corruption(self.corruptions[0], 0), *(each for some in strengths.values() for each in some)]
        scored = (self._by_set(scores_of(audio)) for audio in embed(corruptions, self.base.split))
        uncorrupted = next(scored)
        if not uncorrupted:
            raise EvaluationError(f"no set of {type(self.base).__name__} has the score {self.score}")
        for name in self.corruptions:
            sets = [uncorrupted, *islice(scored, len(STRENGTHS) - 1)]
            for key in uncorrupted:
                if all(key in each for each in sets):  # recordings may be unreadable under a corruption
                    yield self._set_scores(name, [each[key] for each in sets])

    def _fit(self, model: Evaluated) -> FittedScores:
        if isinstance(self.base, FittedProtocol):
            return self.base.fit(model)
        # whatever the corpus lacks is an error before recordings are corrupted
        for _ in self.base.evaluate(model):
            break
        return lambda test: self.base.evaluate(replace(model, audio=_with_split(model.audio, test, self.base.split)))

    def _by_set(self, sets: Iterator[SetScores]) -> Mapping[str, SetScores]:
        return {f"{each.section}.{each.name}": each for each in sets if self.score in each.scores}

    def _set_scores(self, corruption: str, sets: list[SetScores]) -> SetScores:
        """Returns the scores of one set of the protocol under one corruption; ``sets`` are by strength."""
        scale, first = CORRUPTIONS[corruption], sets[0]
        values = f"{', '.join(f'{value:g}' for value in scale.values)} {scale.unit}".rstrip()
        draws = {f"strength_{strength}": each.draws for strength, each in enumerate(sets)}
        return SetScores(
            section="robustness",
            name=f"{first.section}.{first.name}.{corruption}",
            scores={f"strength_{strength}": each.scores[self.score] for strength, each in enumerate(sets)},
            draws={name: each[self.score] for name, each in draws.items() if self.score in each},
            counts=first.counts,
            sample_sha256=first.sample_sha256,
            details={
                "section": first.section,
                "set": first.name,
                "score": self.score,
                "corruption": scale.title,
                "quantity": scale.quantity,
                "unit": scale.unit,
                "values": list(scale.values),
                "chance": _chance(first, self.score),
            },
            protocol=f"{first.protocol} Recordings of the split {self.base.split} are corrupted by {scale.title}: "
            f"{scale.quantity} {values} at strengths 1 to 5, and uncorrupted at strength 0; of each, the first "
            f"{CORRUPTED_S:g} s are embedded.".lstrip(),
        )


def _with_split(audio: EmbeddedRecordings | None, test: EmbeddedRecordings, split: str) -> EmbeddedRecordings:
    """Returns the recordings with those of a split replaced, in ascending order of the ids."""
    if audio is None or all(each.split == split for each in audio.recordings):
        return test
    others = audio.where(lambda recording: recording.split != split)
    joined = EmbeddedRecordings(
        others.recordings + test.recordings,
        np.concatenate([others.windows, test.windows]),
        np.concatenate([others.starts, others.starts[-1] + test.starts[1:]]),
        test.is_unit,
    )
    return joined.select(sorted(range(len(joined.recordings)), key=lambda row: joined.recordings[row].recording_id))


def _chance(found: SetScores, score: str) -> dict[str, float]:
    """Returns what a model reaches at any strength that ignores its input; nothing if it is unknown."""
    chance = found.details.get("chance", {}).get(score)
    return {} if chance is None else {f"strength_{strength}": chance for strength in STRENGTHS}

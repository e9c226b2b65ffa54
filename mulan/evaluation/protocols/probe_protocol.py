"""What the protocols of all probes have in common."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mulan.evaluation.protocols.protocol import Evaluated, FittedScores, SetScores
from mulan.evaluation.protocols.scored_split import ScoredSplit


@dataclass(frozen=True)
class ProbeProtocol(ScoredSplit):
    """Trains a probe on the split ``train``, which may score any vectors of the recordings of another split.

    What is chosen is chosen on the split ``validation``, see :class:`~mulan.evaluation.probes.splits.ProbeSplits`.
    """

    needs_text: ClassVar[bool] = False

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits whose audio is embedded."""
        if self.split == "train":  # which is an error when the probe is to be trained
            return (self.split,)
        return tuple(dict.fromkeys(("train", "validation", self.split)))

    @abstractmethod
    def fit(self, model: Evaluated) -> FittedScores:
        """Trains the probe of each set, and returns what scores recordings of the split with them.

        Raises:
            EvaluationError: The corpus has nothing to train on, to test, or to predict.
        """

    def evaluate(self, model: Evaluated) -> Iterator[SetScores]:
        """Yields the scores of each set.

        Raises:
            EvaluationError: As in :meth:`fit`.
        """
        scores_of = self.fit(model)
        yield from scores_of(model.of_split(self.split))

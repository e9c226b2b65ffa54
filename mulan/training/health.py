"""Health checks of a run: nonfinite losses and gradients, collapsed embeddings, and too many skipped recordings.

Every worker receives the same numbers, those of the first one, so that all workers make the same decisions.
"""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from mulan.config.errors import MulanError
from mulan.config.sections import BatchConfig, HealthConfig
from mulan.data.errors import SkippedRecording, TooManySkippedRecordings
from mulan.distributed.fixed_point import term_limit
from mulan.training.state import Progress


class NonFiniteStep(MulanError):
    """The loss or the gradient of a step is not finite. The weights are those after the previous step."""


class EmbeddingsCollapsed(MulanError):
    """The contrastive terms remain at their values for identical embeddings."""


@dataclass(frozen=True)
class Anomaly:
    """A step with a nonfinite loss or gradient, or with collapsed embeddings."""

    step: int
    message: str
    """A description of the anomaly and of its consequence."""
    measured: Mapping[str, float]
    """The measurements of the step (:func:`mulan.training.step.train_step`)."""
    recordings: Sequence[Sequence[str]]
    """The recording ids of the step, one sequence for each micro-batch of the global batch."""

    def to_json(self) -> str:
        """Returns the JSON of its file in a run's folder; nonfinite numbers are the strings nan, inf and -inf."""
        measured = {name: value if math.isfinite(value) else str(value) for name, value in self.measured.items()}
        return json.dumps(vars(self) | {"measured": measured}, indent=1)


COLLAPSE_MARGIN = 0.01
"""A contrastive term counts as collapsed within this fraction of its value for identical embeddings."""

MAX_ANOMALIES = 20
"""The maximum number of anomalies that are recorded, each in a file, if the run continues after them."""

MIN_EXAMPLES = 1000
"""The minimum number of examples to which the number of skipped recordings is related."""

Recordings = Sequence[Sequence[str]]
"""Recording ids, one sequence for each micro-batch of the global batch."""


class Counts(TypedDict):
    """Fields of :class:`mulan.training.state.Progress` that :class:`HealthWatch` counts."""

    updates_skipped: int
    collapsed_steps: int
    anomalies: int


class HealthWatch:
    """Checks the measurements of every step, and counts anomalies from the counts of a checkpoint on."""

    def __init__(
        self,
        health: HealthConfig,
        batch: BatchConfig,
        progress: Progress,
        on_anomaly: Callable[[Anomaly], str],
        *,
        collapsed: Mapping[str, float],
        exact_sums: bool,
        warmup_steps: int,
    ) -> None:
        """
        Args:
            on_anomaly: Receives each anomaly, and returns a hint for the message of the error that ends the run.
            collapsed: The values of terms for identical embeddings (:func:`mulan.config.objectives.collapsed_losses`).
            exact_sums: The recipe's ``train.exact_sums``.
            warmup_steps: The recipe's ``optim.warmup_steps``, during which no step counts as collapsed.
        """
        self._health, self._on_anomaly, self._warmup_steps = health, on_anomaly, warmup_steps
        self._term_limit = term_limit(batch.micro_batches) if exact_sums else None
        self._collapsed = collapsed
        self._updates_skipped, self._collapsed_steps = progress.updates_skipped, progress.collapsed_steps
        self._anomalies = progress.anomalies

    def check(self, step: int, measured: Mapping[str, float], recordings: Callable[[], Recordings]) -> None:
        """Checks a step's measurements. Collective if they are an anomaly.

        Args:
            step: The step, counted from 1.
            measured: The measurements of :func:`mulan.training.step.train_step`, equal on all workers.
            recordings: Returns the recordings of the step; collective.

        Raises:
            NonFiniteStep, EmbeddingsCollapsed: The recipe's ``health`` section ends the run at such a step.
        """

        def report(message: str, *, stops: bool) -> str:
            return self._report(Anomaly(step, message, measured, ()), recordings, stops=stops)

        if not math.isfinite(measured["grad_norm"]):
            self._updates_skipped += 1
            message = self._nonfinite_message(step, measured)
            if self._health.non_finite == "stop":
                hint = report(message, stops=True)
                raise NonFiniteStep(
                    f"{message}; the weights are those of step {step - 1}. {hint}To skip the updates of such steps and "
                    "continue, resume with --set health.non_finite=warn"
                )
            report(f"{message}; its update is skipped", stops=False)
        if self._count_collapsed(step, measured) == self._health.collapse_steps:
            near = " and ".join(
                f"the {term} loss was within {COLLAPSE_MARGIN:.0%} of {value:.3f}"
                for term, value in self._collapsed.items()
            )
            message = f"embeddings seem to be all the same: in the {self._collapsed_steps} steps up to {step} {near}"
            if self._health.collapse == "stop":
                hint = report(message, stops=True)
                raise EmbeddingsCollapsed(f"{message}. {hint}To continue, resume with --set health.collapse=warn")
            report(message, stops=False)

    def counts(self) -> Counts:
        """Returns the counts for :class:`mulan.training.state.Progress`."""
        return {
            "updates_skipped": self._updates_skipped,
            "collapsed_steps": self._collapsed_steps,
            "anomalies": self._anomalies,
        }

    def _nonfinite_message(self, step: int, measured: Mapping[str, float]) -> str:
        if not math.isfinite(measured["loss"]):
            return f"the loss of step {step} is {measured['loss']}"
        message = f"the gradient norm of step {step} is {measured['grad_norm']}"
        if self._term_limit is None:
            return message
        return (
            f"{message}: in the gradient of a micro-batch there is NaN, infinity, or a number of {self._term_limit:g} "
            "or more, for which train.exact_sums has no room (then a smaller optim.lr or a higher "
            "loss.temperature_init helps, or train.exact_sums=false, in a new run; clipping comes too late)"
        )

    def _count_collapsed(self, step: int, measured: Mapping[str, float]) -> int:
        """Returns the number of consecutive collapsed steps up to this one."""
        near = [
            abs(measured.get(f"loss_{term}", math.inf) - value) <= COLLAPSE_MARGIN * value
            for term, value in self._collapsed.items()
        ]
        collapsed = step > self._warmup_steps and bool(near) and all(near)
        self._collapsed_steps = self._collapsed_steps + 1 if collapsed else 0
        return self._collapsed_steps

    def _report(self, anomaly: Anomaly, recordings: Callable[[], Recordings], *, stops: bool) -> str:
        if self._anomalies >= MAX_ANOMALIES and not stops:
            return ""
        self._anomalies += 1
        last = "; further anomalies are not recorded" if self._anomalies == MAX_ANOMALIES and not stops else ""
        return self._on_anomaly(dataclasses.replace(anomaly, message=anomaly.message + last, recordings=recordings()))


class SkippedShare:
    """Counts skipped recordings by reason, and ends a run if their share of all examples is too high."""

    def __init__(self, max_share: float, counts: Mapping[str, int]) -> None:
        """
        Args:
            max_share: ``data.max_skipped_share``.
            counts: Number of skipped recordings so far, by reason.
        """
        self._max_share, self._counts = max_share, Counter(counts)
        self._newest: SkippedRecording | None = None

    def add(self, recordings: Sequence[SkippedRecording]) -> None:
        """Counts the recordings skipped in a step."""
        self._counts.update(recording.reason for recording in recordings)
        self._newest = recordings[-1] if recordings else None

    def counts(self) -> dict[str, int]:
        """Returns the number of skipped recordings by reason."""
        return dict(self._counts)

    def check(self, num_examples: int) -> None:
        """Checks the share of skipped recordings.

        Args:
            num_examples: Number of examples trained on so far.

        Raises:
            TooManySkippedRecordings: The share of skipped recordings exceeds ``max_share``.
        """
        checked = max(num_examples, MIN_EXAMPLES)
        if self._counts.total() <= self._max_share * checked:
            return
        listed = "".join(f"  - {reason}: {count}\n" for reason, count in self._counts.most_common())
        newest = f"the last: {self._newest}\n" if self._newest else ""
        raise TooManySkippedRecordings(
            f"{self._counts.total()} recordings could not be used in the first {num_examples} examples; "
            f"data.max_skipped_share = {self._max_share:g} allows {math.floor(self._max_share * checked)} in {checked}"
            f"\n{listed}{newest}"
            "quarantine.parquet in the run's folder lists all of them; fix them, remove them from the corpus, or allow "
            "more"
        )

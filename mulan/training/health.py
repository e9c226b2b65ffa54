"""Watches the numbers of a run: a loss or a gradient that is not finite, and embeddings that have become all the same.

Every worker is given the same numbers, those of the first one, so that all of them decide alike.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.distributed.fixed_point import term_limit
from mulan.training.state import Progress


class NonFiniteStep(MulanError):
    """The loss or the gradient of a step is not finite. The weights are those of the step before."""


class EmbeddingsCollapsed(MulanError):
    """The contrastive term stays where it is when all embeddings are the same."""


@dataclass(frozen=True)
class Anomaly:
    """Of one step."""

    step: int
    sentence: str
    """What was found, and what is done about it."""
    values: Mapping[str, float]
    """What was measured."""
    recordings: Sequence[Sequence[str]]
    """Their ids, of each micro-batch of the global batch."""

    def to_json(self) -> str:
        """As it stands in a run's folder; what is not finite as ``"nan"``, ``"inf"`` or ``"-inf"``."""
        values = {name: value if math.isfinite(value) else str(value) for name, value in self.values.items()}
        return json.dumps(vars(self) | {"values": values}, indent=1)


COLLAPSE_MARGIN = 0.01
"""Of the term's value when all embeddings are the same: how near to it a term counts as collapsed."""

MAX_TOLD = 20
"""Of a run that goes on. Each has a file; where every step goes wrong, these say as much as a million."""

Recordings = Sequence[Sequence[str]]
"""Ids, of each micro-batch of the global batch."""


def collapsed_loss(pairs: int) -> float:
    """The contrastive term when the embeddings of all pairs are the same: ln(2 (B - 1))."""
    return math.log(2 * (pairs - 1))


class Counts(TypedDict):
    """Fields of :class:`mulan.training.state.Progress`."""

    updates_skipped: int
    collapsed_steps: int
    findings: int


class HealthWatch:
    """Judges every step of a run, and counts; goes on counting where a checkpoint stood."""

    def __init__(self, recipe: Recipe, progress: Progress, tell: Callable[[Anomaly], str]) -> None:
        """
        Args:
            tell: what is found; gives back how to look into it, in words.
        """
        self._section, self._warmup_steps, self._tell = recipe.health, recipe.optim.warmup_steps, tell
        self._room = term_limit(recipe.batch.micro_batches) if recipe.train.exact_sums else None
        self._collapsed_loss = collapsed_loss(recipe.batch.pairs)
        self._skipped, self._collapsed = progress.updates_skipped, progress.collapsed_steps
        self._told = progress.findings

    def judge(self, step: int, measured: Mapping[str, float], recordings: Callable[[], Recordings]) -> None:
        """Collective where something is found.

        Args:
            step: from 1.
            measured: see :func:`mulan.training.step.train_step`; the same on all workers.
            recordings: of the step. Collective.

        Raises:
            NonFiniteStep, EmbeddingsCollapsed: where the recipe says that this ends a run.
        """

        def found(fault: str, then: str, *, stops: bool) -> str:
            return self._found(Anomaly(step, f"{fault}{then}", measured, ()), recordings, stops=stops)

        if not math.isfinite(measured["grad_norm"]):
            self._skipped += 1
            fault = self._not_finite(step, measured)
            if self._section.non_finite == "stop":
                hint = found(fault, "", stops=True)
                raise NonFiniteStep(
                    f"{fault}; the weights are those of step {step - 1}. {hint}To leave out the updates of such steps "
                    "and go on, resume with --set health.non_finite=warn"
                )
            found(fault, "; its update is left out", stops=False)
        if self._collapsed_steps(step, measured) == self._section.collapse_steps:
            fault = (
                f"embeddings seem to be all the same: in the {self._collapsed} steps up to {step} the contrastive loss "
                f"was within {COLLAPSE_MARGIN:.0%} of {self._collapsed_loss:.3f}"
            )
            if self._section.collapse == "stop":
                hint = found(fault, "", stops=True)
                raise EmbeddingsCollapsed(f"{fault}. {hint}To go on, resume with --set health.collapse=warn")
            found(fault, "", stops=False)

    def _not_finite(self, step: int, measured: Mapping[str, float]) -> str:
        if not math.isfinite(measured["loss"]):
            return f"the loss of step {step} is {measured['loss']}"
        fault = f"the gradient norm of step {step} is {measured['grad_norm']}"
        if self._room is None:
            return fault
        return (
            f"{fault}: in the gradient of a micro-batch there is NaN, infinity, or a number of {self._room:g} or more, "
            "for which train.exact_sums has no room (then a smaller optim.lr or a higher loss.temperature_init helps, "
            "or train.exact_sums=false, in a new run; clipping comes too late)"
        )

    def counts(self) -> Counts:
        """As they stand in :class:`mulan.training.state.Progress`."""
        return {"updates_skipped": self._skipped, "collapsed_steps": self._collapsed, "findings": self._told}

    def _collapsed_steps(self, step: int, measured: Mapping[str, float]) -> int:
        distance = abs(measured.get("loss_contrastive", math.inf) - self._collapsed_loss)
        collapsed = step > self._warmup_steps and distance <= COLLAPSE_MARGIN * self._collapsed_loss
        self._collapsed = self._collapsed + 1 if collapsed else 0
        return self._collapsed

    def _found(self, finding: Anomaly, recordings: Callable[[], Recordings], *, stops: bool) -> str:
        if self._told >= MAX_TOLD and not stops:
            return ""
        self._told += 1
        last = "; more of this is not told" if self._told == MAX_TOLD and not stops else ""
        return self._tell(dataclasses.replace(finding, sentence=finding.sentence + last, recordings=recordings()))

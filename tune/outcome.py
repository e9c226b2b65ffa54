"""The outcome of a trial so far: its state, its figures, and what it cost; read from its run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mulan.storage.jsonl import DamagedFile
from tune.objective import Objective
from tune.plan import SweepPlan
from tune.trial import Failure, FailureKind, Trial

State = Literal["waiting", "unfinished", "completed", "stopped"] | FailureKind
"""Not begun; begun and neither completed nor failed; trained to the last step; stopped by ASHA; or the failure's."""


@dataclass(frozen=True)
class Outcome:
    """What is known of a trial."""

    trial: Trial
    state: State
    failure: Failure | None
    """What ended the trial; None unless the state is that of a failure."""
    scores: Mapping[str, Sequence[tuple[int, float]]]
    """The step and the figure of each validation, for each objective by name."""
    steps: int
    """The number of trained steps."""
    worker_seconds: float
    """The time of all workers in training steps, without starts, validations and repeated steps."""

    def last(self, objective: Objective) -> float | None:
        """Returns the figure of the last validation; None if there was none."""
        scores = self.scores[objective.name]
        return scores[-1][1] if scores else None


def outcome_of(trial: Trial, plan: SweepPlan) -> Outcome:
    """Reads the outcome of a trial.

    Raises:
        DamagedFile: A file of the trial is damaged.
    """
    metrics = trial.run.metrics()
    failure = trial.failure()
    try:
        return Outcome(
            trial,
            _state(trial, plan, metrics, failure),
            failure,
            {objective.name: objective.scores(metrics) for objective in plan.objectives},
            steps=max((int(line["step"]) for line in metrics), default=0),
            worker_seconds=sum(_worker_seconds(line, plan.recipe.scale.max_workers) for line in metrics),
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # values of other types
        raise DamagedFile(
            f"{trial.run.metrics_uri} is damaged; restore it, or remove the folder of the trial to train it again"
        ) from error


def _worker_seconds(line: Mapping[str, Any], max_workers: int) -> float:
    return float(line.get("step_s", 0)) * float(line.get("workers", max_workers))


def _state(trial: Trial, plan: SweepPlan, metrics: Sequence[Mapping[str, Any]], failure: Failure | None) -> State:
    if trial.was_stopped():
        return "stopped"
    if failure is not None:
        return failure.kind
    if trial.is_over(plan.recipe):
        return "completed"
    return "unfinished" if metrics or trial.steps_saved() else "waiting"


def ranked(outcomes: Sequence[Outcome], objective: Objective) -> list[Outcome]:
    """Returns the outcomes with a figure, best first; those of equal figures in the order of their trials.

    Trials that were trained to the last step come before all others, whose figures are of earlier steps.
    """
    scored = [(one, score) for one in outcomes if (score := one.last(objective)) is not None]
    return [
        one
        for one, _ in sorted(
            scored,
            key=lambda pair: (pair[0].state != "completed", -objective.sign * pair[1], pair[0].trial.number),
        )
    ]

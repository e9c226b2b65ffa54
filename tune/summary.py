"""The result of a sweep as numbers: its trials, the best one, and the compute that stopping early has saved."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mulan.config.paths import redacted
from tune.outcome import Outcome, ranked
from tune.plan import SweepOptions, SweepPlan
from tune.points import own_values


@dataclass(frozen=True)
class Compute:
    """What the ended trials of a sweep have cost, and what they would have cost without early stopping.

    A trial that failed counts with what it has cost in both, since no longer training would have been possible.
    """

    steps: int
    steps_to_the_end: int
    worker_seconds: float
    """The time of all workers in training steps, as measured in each step (``step_s``)."""
    worker_seconds_to_the_end: float
    """As measured for trials that were trained to the end; for stopped ones, extrapolated from their mean step."""

    @property
    def share_of_steps(self) -> float:
        """The part of the steps that was trained; 1 if no trial has ended."""
        return self.steps / self.steps_to_the_end if self.steps_to_the_end else 1.0

    @property
    def share_of_seconds(self) -> float:
        """The part of the worker-seconds that was spent; 1 if no trial has ended."""
        return self.worker_seconds / self.worker_seconds_to_the_end if self.worker_seconds_to_the_end else 1.0

    def describe(self) -> str:
        """Describes the compute in one line."""
        return (
            f"{self.steps} of {self.steps_to_the_end} steps ({self.share_of_steps:.0%}), and "
            f"{self.worker_seconds:.0f} of {self.worker_seconds_to_the_end:.0f} worker-seconds "
            f"({self.share_of_seconds:.0%}), that all trials to the end would take"
        )


def compute_of(plan: SweepPlan, outcomes: Sequence[Outcome]) -> Compute:
    """Returns the compute of the trials that have ended."""
    steps, seconds = plan.recipe.train.steps, 0.0
    ended = [one for one in outcomes if one.state not in ("waiting", "unfinished")]
    steps_to_the_end = 0
    for one in ended:
        factor = steps / one.steps if one.state == "stopped" and one.steps else 1.0
        steps_to_the_end += round(one.steps * factor)
        seconds += one.worker_seconds * factor
    return Compute(sum(one.steps for one in ended), steps_to_the_end, sum(one.worker_seconds for one in ended), seconds)


def pareto_front(plan: SweepPlan, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns the trials that no other trial surpasses: one at least as good in all objectives, and better in one.

    Only trials that were trained to the last step count; they are sorted by the first objective, best first.
    """
    found = []
    for one in ranked([one for one in outcomes if one.state == "completed"], plan.objective):
        figures = [one.last(objective) for objective in plan.objectives]
        if None not in figures:
            found.append((one, [o.sign * f for o, f in zip(plan.objectives, figures, strict=True) if f is not None]))
    return [
        one
        for one, figures in found
        if not any(all(b >= a for a, b in zip(figures, other, strict=True)) and other != figures for _, other in found)
    ]


@dataclass(frozen=True)
class SweepResult:
    """What is known of a sweep so far."""

    plan: SweepPlan
    options: SweepOptions
    outcomes: Sequence[Outcome]

    @property
    def ranking(self) -> list[Outcome]:
        """The trials with a figure, best first; those trained to the last step come before all others."""
        return ranked(self.outcomes, self.plan.objective)

    @property
    def best(self) -> Outcome | None:
        """The first trial of the ranking; None if no trial has reached a validation."""
        return next(iter(self.ranking), None)

    @property
    def own(self) -> Outcome:
        """The trial of the recipe's own values."""
        return self.outcomes[0]

    def command(self, outcome: Outcome) -> str:
        """Returns the command that trains a trial's settings at full length, quoted for a shell."""
        words = [word for setting in outcome.trial.settings for word in ("--set", setting)]
        name = f"{self.plan.run.name}_{outcome.trial.run.name}"
        return redacted(shlex.join([*self.options.train_command, "--name", name, *words]))


def to_json(result: SweepResult, importance: Mapping[str, float] | None) -> dict[str, Any]:
    """Returns the content of ``sweep.json``.

    Args:
        result: The sweep.
        importance: The importance of each field (:func:`tune.importance.importance_of`); None if it is not known.
    """
    plan, best, compute = result.plan, result.best, compute_of(result.plan, result.outcomes)
    stopping = result.options.early_stopping
    return {
        "name": plan.run.name,
        **plan.to_json(),
        "train_steps": plan.recipe.train.steps,
        "early_stopping": None if stopping is None else asdict(stopping),
        "best": None if best is None else _best(result, best),
        "compute": {
            **asdict(compute),
            "share_of_steps": compute.share_of_steps,
            "share_of_seconds": compute.share_of_seconds,
        },
        "importance": None if importance is None else dict(importance),
        "pareto_front": [one.trial.run.name for one in pareto_front(plan, result.outcomes)],
        "trials": [_trial(plan, one) for one in result.outcomes],
    }


def _best(result: SweepResult, best: Outcome) -> dict[str, Any]:
    objective = result.plan.objective
    return {
        "trial": best.trial.run.name,
        "settings": best.trial.settings,
        "command": result.command(best),
        objective.name: best.last(objective),
        "own_values": {"trial": result.own.trial.run.name, objective.name: result.own.last(objective)},
    }


def _trial(plan: SweepPlan, outcome: Outcome) -> dict[str, Any]:
    failure = outcome.failure
    return {
        "trial": outcome.trial.run.name,
        "state": outcome.state,
        "failure": None if failure is None else {"step": failure.step, "reason": failure.reason},
        "settings": outcome.trial.settings,
        "values": None if outcome.trial.point is None else own_values(plan) | dict(outcome.trial.point),
        "steps": outcome.steps,
        "worker_seconds": outcome.worker_seconds,
        "figures": {objective.name: outcome.last(objective) for objective in plan.objectives},
        "curves": {name: [list(pair) for pair in scores] for name, scores in outcome.scores.items()},
    }

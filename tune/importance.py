"""The importance of the varied fields: the share of the figure's variance that each explains, by fANOVA (Hutter et al.
2014) as in Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import optuna

from tune.optuna_points import rebuilt_study
from tune.outcome import Outcome
from tune.plan import SweepPlan

MIN_TRIALS = 6
"""The minimum number of trials; of fewer, a random forest learns nothing."""


@dataclass(frozen=True)
class Importance:
    """The importance of each field for the first objective at one step."""

    shares: Mapping[str, float]
    """The share of each field, highest first; they add up to 1."""
    step: int
    """The step of the validation at which trials are compared."""
    trials: int
    """The number of trials that have a figure there."""


def importance_of(plan: SweepPlan, outcomes: Sequence[Outcome]) -> Importance | None:
    """Returns the importance of the fields; None with too few trials, or if all have the same figure.

    Trials are compared at the last validation that at least half of them have reached: those that were trained for
    longer would be better for that reason alone.
    """
    name = plan.objective.name
    validated = [one for one in outcomes if one.scores[name]]
    steps = sorted({step for one in validated for step, _ in one.scores[name]}, reverse=True)
    for step in steps:
        there = [one for one in validated if any(reached == step for reached, _ in one.scores[name])]
        if 2 * len(there) >= len(validated):
            return _at(plan, there, step)
    return None


def _at(plan: SweepPlan, outcomes: Sequence[Outcome], step: int) -> Importance | None:
    name = plan.objective.name
    at_step = [
        replace(one, state="completed", scores={name: [(step, dict(one.scores[name])[step])]}) for one in outcomes
    ]
    study = rebuilt_study(replace(plan, objectives=(plan.objective,)), at_step)
    if len(study.trials) < MIN_TRIALS or len({one.value for one in study.trials}) == 1:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=plan.recipe.train.seed)
    return Importance(optuna.importance.get_param_importances(study, evaluator=evaluator), step, len(study.trials))

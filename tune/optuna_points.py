"""Points chosen by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) from the outcomes of other trials.

The study is rebuilt from the trials' files for every point, with a seed of the trial's own, so that nothing but these
files has to survive: with the same outcomes, a resumed sweep chooses the same point.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tune.domains import Domain, NumberInterval, Value
from tune.outcome import Outcome
from tune.plan import SweepPlan
from tune.points import Point, own_values, seed_of


def choose_point(plan: SweepPlan, number: int, outcomes: Sequence[Outcome]) -> Point:
    """Returns the point of a trial, by its number.

    Args:
        outcomes: The outcomes of the sweep's trials; those without a point are left out.
    """
    seed = int(np.random.SeedSequence(seed_of(plan, number)).generate_state(1)[0])
    study = rebuilt_study(plan, outcomes, sampler=optuna.samplers.TPESampler(seed=seed))
    chosen = study.ask(_distributions(plan)).params
    return {field: _from_optuna(domain, chosen[field]) for field, domain in plan.space.domains.items()}


def rebuilt_study(
    plan: SweepPlan, outcomes: Sequence[Outcome], *, sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """Returns a study in memory of the outcomes of trials, which it lists in their order.

    Trials that ASHA stopped are pruned ones, and those that failed are failed ones. The trial of the recipe's own
    values is left out unless all of them are in the space.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    goals = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
    directions = [goals[objective.goal] for objective in plan.objectives]
    study = optuna.create_study(directions=directions, sampler=sampler)
    for outcome in sorted(outcomes, key=lambda one: one.trial.number):
        told = _told(plan, outcome)
        if told is not None:
            study.add_trial(told)
    return study


def _told(plan: SweepPlan, outcome: Outcome) -> FrozenTrial | None:
    if outcome.trial.point is None:
        return None
    point = own_values(plan) | dict(outcome.trial.point)
    if not all(domain.contains(point[field]) for field, domain in plan.space.domains.items()):
        return None
    params = {field: _to_optuna(domain, point[field]) for field, domain in plan.space.domains.items()}
    figures = [outcome.last(objective) for objective in plan.objectives]
    named: dict[str, Any] = {"state": TrialState.RUNNING}
    if outcome.state == "completed" and None not in figures:
        named = {"state": TrialState.COMPLETE, "values": figures}
    elif outcome.state == "stopped":
        # of several objectives, Optuna cannot compare pruned trials by their figures
        scores = dict(outcome.scores[plan.objective.name]) if len(plan.objectives) == 1 else {}
        named = {"state": TrialState.PRUNED, "intermediate_values": scores}
    elif outcome.failure is not None:
        named = {"state": TrialState.FAIL}
    return create_trial(params=params, distributions=_distributions(plan), **named)


def _distributions(plan: SweepPlan) -> dict[str, BaseDistribution]:
    return {field: _distribution(domain) for field, domain in plan.space.domains.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if not isinstance(domain, NumberInterval):
        return CategoricalDistribution(range(len(domain.values)))  # values may be lists, which Optuna does not allow
    if domain.kind == "randint":
        return IntDistribution(int(domain.low), int(domain.high))
    return FloatDistribution(domain.low, domain.high, log=domain.kind == "loguniform")


def _to_optuna(domain: Domain, value: Value) -> Any:
    return value if isinstance(domain, NumberInterval) else domain.values.index(value)


def _from_optuna(domain: Domain, value: Any) -> Value:
    if not isinstance(domain, NumberInterval):
        return domain.values[value]
    return value if domain.kind == "randint" else domain.rounded(value)

"""The points of a sweep: the values of each trial.

The first trial has the recipe's own values, so that the result of a sweep is compared with the recipe as it is. A
point of random search depends only on the recipe's seed, the sweep's name and the trial's number, and a point of a grid
only on its number, so that a resumed or extended sweep tries the same points.
"""

import itertools
import math
import zlib
from collections.abc import Mapping

import numpy as np

from tune.domains import NumberInterval, Value
from tune.errors import SweepError
from tune.plan import Method, SweepPlan
from tune.space import Space

Point = Mapping[str, Value]
"""The value of each varied field by its path as in ``--set``; fields that are missing have the recipe's own value."""

OWN_POINT: Point = {}
"""The point of the first trial: nothing differs from the recipe."""


def known_point(plan: SweepPlan, number: int) -> Point | None:
    """Returns the point of a trial, by its number; None if the method chooses it when the trial begins.

    Raises:
        SweepError: The grid has fewer points.
    """
    if number == 0:
        return OWN_POINT
    if plan.method == "optuna":
        return None
    if plan.method == "grid":
        return _grid_point(plan.space, number - 1)
    draws = np.random.default_rng(seed_of(plan, number))
    return {field: domain.sample(draws) for field, domain in plan.space.domains.items()}


def own_values(plan: SweepPlan) -> dict[str, Value]:
    """Returns the recipe's own value of each varied field; None if the recipe does not have it, as another family."""
    dumped = plan.recipe.model_dump(mode="json")
    values: dict[str, Value] = {}
    for field in plan.space.domains:
        value: Value = dumped
        for part in field.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        values[field] = value
    return values


def seed_of(plan: SweepPlan, number: int) -> list[int]:
    """Returns the seed of a trial's draws."""
    return [plan.recipe.train.seed, zlib.crc32(plan.run.name.encode()), number]


def grid_size(space: Space) -> int:
    """Returns the number of points of a grid."""
    return math.prod(len(domain.edges) for domain in space.domains.values())


def _grid_point(space: Space, number: int) -> Point:
    if number >= grid_size(space):
        raise SweepError(f"the grid has {grid_size(space)} points; there is no trial {number + 1}")
    values = itertools.product(*(domain.edges for domain in space.domains.values()))
    return dict(zip(space.domains, next(itertools.islice(values, number, None)), strict=True))


def method_faults(space: Space, method: Method) -> list[str]:
    """Returns the faults of all fields whose domains a method cannot search; none if it can search the space."""
    if method == "grid":
        return [
            f"{field} is an interval ({domain}), of which --search grid cannot try every value; list them with grid"
            for field, domain in space.domains.items()
            if isinstance(domain, NumberInterval)
        ]
    return [
        f"{field} is a grid, which --search {method} does not try completely; give choice, or --search grid"
        for field, domain in space.domains.items()
        if not isinstance(domain, NumberInterval) and domain.kind == "grid"
    ]

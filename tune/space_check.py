"""The check of a search space against its recipe, before anything is started: every bound and value is tried."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe
from mulan.recipes.registry import with_settings
from tune.domains import Value, settings
from tune.reading import is_judged_alike
from tune.space import Space, SpaceError

_LEFT_TO_THE_SWEEP = "trials of one sweep are compared at the same steps; set it by --set for all of them"
_NO_INFLUENCE = "the result does not depend on it; set it by --set for all trials"
_OF_THE_SCORE = "the scores of trials could not be compared; set it by --set for all of them"

NOT_VARIED: Mapping[str, str] = MappingProxyType(
    {
        "data.uri": "the scores of trials on other corpora could not be compared; sweep each corpus by itself",
        "evaluation.": _OF_THE_SCORE,
        "health.": _NO_INFLUENCE,
        "logging.": _NO_INFLUENCE,
        "scale.": _NO_INFLUENCE,
        "train.checkpoint_every_steps": _LEFT_TO_THE_SWEEP,
        "train.keep_best_checkpoints": _NO_INFLUENCE,
        "train.keep_latest_checkpoints": _NO_INFLUENCE,
        "train.steps": _LEFT_TO_THE_SWEEP,
        "train.validate_every_steps": _LEFT_TO_THE_SWEEP,
        "train.validation_micro_batches": _OF_THE_SCORE,
    }
)
"""Fields and sections that no space may vary, with the reasons."""

_MAX_CORNERS = 1024
"""The maximum number of combinations of bounds and values that are tried; of larger spaces, each value is tried alone,
and the trial of an impossible combination fails."""


def check_space(space: Space, recipe: Recipe, known_faults: Sequence[str] = ()) -> None:
    """Checks that a recipe is valid with every bound and value of a space, alone and together.

    Of an interval, values between the bounds are tried too, since a field may not take all of them. Values together are
    only tried if there is no other fault.

    Args:
        space: The space.
        recipe: The recipe whose fields it varies.
        known_faults: What was found before in the same space, to be listed first.

    Raises:
        SpaceError: There are known faults, a field is unknown or cannot be varied, or the recipe is not valid with a
            value; lists all errors.
    """
    found = (fault for field in space.domains for fault in _field_faults(space, field, recipe))
    faults = list(dict.fromkeys([*known_faults, *found]))
    if not faults:
        faults = list(itertools.islice(_corner_faults(space, recipe), 1))
    if faults:
        raise SpaceError(space.name, faults)


def _field_faults(space: Space, field: str, recipe: Recipe) -> Iterator[str]:
    reason = next((why for fixed, why in NOT_VARIED.items() if f"{field}.".startswith(f"{fixed.rstrip('.')}.")), None)
    if reason is not None:
        yield f"{field} cannot be varied: {reason}"
        return
    for value in space.domains[field].examples:
        varied = _faults_or_recipe({field: value}, recipe)
        if not isinstance(varied, Recipe):
            yield from varied
        elif not is_judged_alike(varied, recipe) and not recipe.evaluation.select:
            yield (
                f"{field} changes which recordings and texts a validation compares, so that the scores of trials are "
                "not comparable; set evaluation.tasks and evaluation.select, a figure that is always over the same ones"
            )


def _faults_or_recipe(point: Mapping[str, Value], recipe: Recipe) -> Recipe | tuple[str, ...]:
    try:
        return with_settings(recipe, settings(point), name="sweep")
    except RecipeError as error:
        return error.faults


def _corner_faults(space: Space, recipe: Recipe) -> Iterator[str]:
    edges = {field: domain.edges for field, domain in space.domains.items()}
    if math.prod(map(len, edges.values())) > _MAX_CORNERS:
        return
    for values in itertools.product(*edges.values()):
        point = dict(zip(edges, values, strict=True))
        faults = _faults_or_recipe(point, recipe)
        if not isinstance(faults, Recipe):
            yield f"with {' and '.join(settings(point))} together, the recipe is not valid: {'; '.join(faults)}"

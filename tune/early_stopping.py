"""When ASHA stops a trial."""

from dataclasses import dataclass

from mulan.config.recipe import Recipe
from tune.errors import SweepError


@dataclass(frozen=True)
class EarlyStopping:
    """The two settings of ASHA (Li et al. 2020).

    Trials are compared at ``grace_steps``, at ``grace_steps * reduction_factor``, and so on, always at the first
    validation from there on. A trial goes on if its score is in the best 1 / ``reduction_factor`` of those that trials
    had there so far.
    """

    grace_steps: int
    """The number of steps after which trials are first compared."""
    reduction_factor: float = 3.0
    """The inverse of the share of trials that go on."""


def early_stopping_of(
    recipe: Recipe, *, grace_steps: int | None, reduction_factor: float | None, is_off: bool
) -> EarlyStopping | None:
    """Returns when trials of a recipe are stopped; None for never.

    Args:
        recipe: The recipe of the sweep.
        grace_steps: ``--grace-steps``; by default the step of the first validation.
        reduction_factor: ``--reduction-factor``; by default 3.
        is_off: ``--no-early-stopping``.

    Raises:
        SweepError: The settings contradict each other or the recipe; lists all errors.
    """
    first = recipe.train.validate_every_steps or recipe.train.steps
    faults = []
    if is_off:
        given = {"--grace-steps": grace_steps, "--reduction-factor": reduction_factor}
        faults += [
            f"{name} has no effect with --no-early-stopping" for name, value in given.items() if value is not None
        ]
    if grace_steps is not None and not first <= grace_steps <= recipe.train.steps:
        faults.append(
            f"--grace-steps {grace_steps}: must be between the first validation, at step {first}, and train.steps = "
            f"{recipe.train.steps}"
        )
    if reduction_factor is not None and not 1 < reduction_factor <= 1000:
        faults.append(f"--reduction-factor {reduction_factor:g}: must be above 1 and at most 1000")
    if faults:
        raise SweepError("; ".join(faults))
    return None if is_off else EarlyStopping(grace_steps or first, reduction_factor or 3.0)

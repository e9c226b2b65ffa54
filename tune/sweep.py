"""Sweep temperatures, learning rate and loss weights: python -m tune.sweep --recipe demo --data URI --trials N

ASHA stops the trials that lag behind; they are compared by a score of the validation split, retrieval where there are
texts. The same name resumes: trials that are over stay as they are, others go on from their newest checkpoints, and a
larger --trials adds to them.
"""

import argparse
import os

from jobs import arguments
from jobs.console import CONSOLE
from mulan.config.recipe import Recipe
from mulan.training.checks import check_corpus
from mulan.training.cluster import connect
from mulan.training.lease import held
from mulan.training.run import Run
from tune.errors import SweepError


def main() -> None:
    parser = argparse.ArgumentParser(prog="tune.sweep", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser)
    arguments.add_data(parser, default="the recipe's data.uri")
    arguments.add_run(parser, name="sweep")
    parser.add_argument(
        "--trials", type=int, required=True, help="points of the search space to try, all calls together"
    )
    parser.add_argument("--concurrent", type=int, help="trials at a time (default: what the cluster has room for now)")
    given = parser.parse_args()
    if given.concurrent is not None and given.concurrent < 1:
        raise SweepError(f"--concurrent {given.concurrent}: at least 1 is needed")
    run = arguments.run_of(given)
    recipe = for_sweep(arguments.recipe_to_train(given), given.trials)
    run.check(recipe)
    check_corpus(recipe)
    run.check_writable()
    if given.dry_run:
        print(recipe.to_toml(), end="")
        return
    with held(run.uri):
        run.begin(recipe)
        sweep(recipe, run, trials=given.trials, concurrent=given.concurrent)


def sweep(recipe: Recipe, run: Run, *, trials: int, concurrent: int | None) -> None:
    """Runs what is left of the trials, and shows all that there are, best first.

    Raises:
        RunError: what is there of a trial is damaged.
        SweepError: no trial came to a validation.
    """
    from tune.planned import planned
    from tune.trials import room_for_trials, run_trials, show

    all_trials = planned(recipe, run, trials)
    failures: list[str] = []
    if not all(one.is_over(recipe) for one in all_trials[:trials]):
        connect(recipe.scale)
        room = concurrent or room_for_trials(recipe)
        failures = run_trials(recipe, run, all_trials, asked_for=trials, concurrent=room)
    show(all_trials, failures, recipe, CONSOLE)


def for_sweep(recipe: Recipe, trials: int) -> Recipe:
    """The recipe with a checkpoint at every validation, which is when trials are compared.

    Raises:
        SweepError: there is nothing to try, or nothing to compare trials by.
    """
    faults = []
    if trials < 1:
        faults.append(f"--trials {trials}: at least 1 is needed")
    if not recipe.train.validation_micro_batches:
        faults.append("train.validation_micro_batches = 0: trials are compared by validation; set it above 0")
    if faults:
        raise SweepError("; ".join(faults))
    every = recipe.train.validate_every_steps or recipe.train.steps
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"checkpoint_every_steps": every})})


if __name__ == "__main__":
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    arguments.end(main)

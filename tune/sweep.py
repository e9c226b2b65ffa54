"""Sweep any fields of a recipe: python -m tune.sweep --recipe demo --data URI --space default --trials N

ASHA stops the trials that lag behind, by a score of the validation split (retrieval, if there are texts). The same name
resumes: completed trials stay as they are, others continue from their newest checkpoints. A larger --trials adds to
them, and with more train.steps those that ASHA did not stop continue.
"""

import argparse
import os
from typing import get_args

from jobs import arguments
from jobs.joining import check_training, print_dry_run
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.launch.cluster import local_resources
from mulan.runs.lease import Fence, hold_lease
from tune.early_stopping import early_stopping_of
from tune.errors import SweepError
from tune.objective import objectives_of
from tune.plan import MAX_TRIALS, Method, SweepOptions, SweepPlan
from tune.points import grid_size, method_faults
from tune.space import read_space
from tune.space_check import check_space
from tune.spaces import NAMED_SPACES
from tune.value_check import check_values


def main() -> None:
    args = _parser().parse_args()
    plan, options = plan_of(args)
    reader = check_training(plan.recipe, plan.run)
    check_values(plan)
    if args.dry_run:
        print_dry_run(plan.recipe, plan.run, reader)
        describe(plan, options)
        return
    with hold_lease(plan.run.uri) as fence:
        plan.check()  # again: another process may have begun a sweep of this name meanwhile
        plan.run.begin(plan.recipe, reader.corpus.index_sha256)
        plan.write()
        sweep(plan, options, reader, fence)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tune.sweep", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser)
    arguments.add_data(parser, default="the recipe's data.uri")
    arguments.add_run(parser, name="sweep")
    parser.add_argument(
        "--space",
        metavar="NAME|FILE.toml",
        default="default",
        help=f"the varied fields: {', '.join(NAMED_SPACES)}; or a TOML file (default: %(default)s)",
    )
    parser.add_argument("--search", choices=get_args(Method), default="random", help="(default: %(default)s)")
    parser.add_argument(
        "--objective",
        metavar="NAME=max|min",
        action="append",
        default=[],
        help="a score of the validation, or step_seconds; may be repeated (default: the recipe's selection metric)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        help="trials, including those of earlier calls; the first is the recipe itself (default: all of the grid)",
    )
    parser.add_argument(
        "--concurrent", type=int, help="trials at a time (default: as many as the cluster can ever hold)"
    )
    parser.add_argument(
        "--grace-steps", type=int, metavar="S", help="steps before a trial may be stopped (default: one validation)"
    )
    parser.add_argument(
        "--reduction-factor", type=float, metavar="R", help="the best 1/R of the trials go on (default: 3)"
    )
    parser.add_argument("--no-early-stopping", action="store_true", help="train all trials to the end")
    return parser


def plan_of(args: argparse.Namespace) -> tuple[SweepPlan, SweepOptions]:
    """Returns what the arguments request, checked as far as it can be without the corpus.

    Raises:
        MulanError: An argument is not valid, or contradicts what a sweep of this name has searched so far.
    """
    run = arguments.run_of(args)
    recipe = for_sweep(arguments.recipe_to_train(args), trials=args.trials, concurrent=args.concurrent)
    objectives = objectives_of(args.objective, recipe)
    early_stopping = early_stopping_of(
        recipe, grace_steps=args.grace_steps, reduction_factor=args.reduction_factor, is_off=args.no_early_stopping
    )
    space, faults = read_space(args.space, recipe)
    check_space(space, recipe, [*faults, *method_faults(space, args.search)])
    plan = SweepPlan(recipe, run, space, args.search, objectives)
    plan.check()
    options = SweepOptions(
        _num_trials(plan, args.trials), args.concurrent, early_stopping, tuple(_train_command(args, plan))
    )
    return plan, options


def _train_command(args: argparse.Namespace, plan: SweepPlan) -> list[str]:
    where = ["--data", plan.recipe.data.uri, "--storage", plan.run.storage_uri]
    settings = [word for setting in args.settings for word in ("--set", setting)]
    return ["python", "-m", "jobs.train", "--recipe", args.recipe, *where, *settings]


def _num_trials(plan: SweepPlan, given: int | None) -> int:
    if plan.method != "grid":
        if given is None:
            raise SweepError(f"--search {plan.method} needs a number of trials; give --trials")
        return given
    whole = 1 + grid_size(plan.space)
    if given is not None and given > whole:
        raise SweepError(f"--trials {given}: the grid has {whole - 1} points, so give at most {whole}")
    if given is None and whole > MAX_TRIALS:
        raise SweepError(f"the grid has {whole - 1} points; a sweep has at most {MAX_TRIALS} trials, so give --trials")
    return given or whole


def sweep(plan: SweepPlan, options: SweepOptions, reader: MicroBatchReader, fence: Fence) -> None:
    """Joins the cluster and runs the sweep (:func:`tune.execution.execute`)."""
    from tune.execution import execute

    execute(plan, options, reader, fence)


def describe(plan: SweepPlan, options: SweepOptions) -> None:
    """Prints the preview of the sweep as TOML comments, so that the output remains a recipe.

    If ``RAY_ADDRESS`` names a cluster, it must have been joined.
    """
    from mulan.launch.capacity import Capacity, Node, capacity
    from tune.preview import preview
    from tune.trial import check_steps, planned_trials

    local = Capacity((Node("this machine", local_resources(plan.recipe.scale), {}),))
    cluster = capacity() if os.environ.get("RAY_ADDRESS") else local
    trials = planned_trials(plan, options.trials)
    check_steps(trials, plan.recipe.train.steps)
    for line in preview(plan, options, trials, cluster):
        print(f"# {line}")


def for_sweep(recipe: Recipe, *, trials: int | None, concurrent: int | None = None) -> Recipe:
    """Returns the recipe with a checkpoint at every validation, where trials are compared.

    Raises:
        SweepError: There are no trials, or no validation to compare them by; lists all errors.
    """
    errors = []
    if trials is not None and not 1 <= trials <= MAX_TRIALS:
        errors.append(f"--trials {trials}: must be between 1 and {MAX_TRIALS}")
    if concurrent is not None and concurrent < 1:
        errors.append(f"--concurrent {concurrent}: at least 1 is needed")
    if not recipe.train.validation_micro_batches:
        errors.append("train.validation_micro_batches = 0: trials are compared by validation; set it above 0")
    if errors:
        raise SweepError("; ".join(errors))
    every = recipe.train.validate_every_steps or recipe.train.steps
    return recipe.replace({"train.checkpoint_every_steps": every})


if __name__ == "__main__":
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    arguments.end(main)

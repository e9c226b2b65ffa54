"""Sweep temperatures, learning rate and loss weights: python -m tune.sweep --recipe demo --data URI --trials N

ASHA stops the trials that lag behind, by a score of the validation split (retrieval, if there are texts). The same name
resumes: completed trials stay as they are, others continue from their newest checkpoints. A larger --trials adds to
them, and with more train.steps those that ASHA did not stop continue.
"""

import argparse
import os

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.joining import check_training, join_and_report, print_dry_run
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.launch.cluster import local_resources, share_reader
from mulan.runs.lease import Fence, hold_lease
from mulan.runs.run import Run
from tune.errors import SweepError, SweepUnfinished


def main() -> None:
    parser = argparse.ArgumentParser(prog="tune.sweep", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser)
    arguments.add_data(parser, default="the recipe's data.uri")
    arguments.add_run(parser, name="sweep")
    parser.add_argument(
        "--trials", type=int, required=True, help="points of the search space to try, including those of earlier calls"
    )
    parser.add_argument(
        "--concurrent", type=int, help="trials at a time (default: as many as the cluster can ever hold)"
    )
    args = parser.parse_args()
    if args.concurrent is not None and args.concurrent < 1:
        raise SweepError(f"--concurrent {args.concurrent}: at least 1 is needed")
    run = arguments.run_of(args)
    recipe = for_sweep(arguments.recipe_to_train(args), args.trials)
    reader = check_training(recipe, run)
    if args.dry_run:
        print_dry_run(recipe, run, reader)
        describe(recipe, run, trials=args.trials, concurrent=args.concurrent)
        return
    with hold_lease(run.uri) as fence:
        run.begin(recipe, reader.corpus.index_sha256)
        sweep(recipe, run, reader, fence, trials=args.trials, concurrent=args.concurrent)


def sweep(
    recipe: Recipe, run: Run, reader: MicroBatchReader, fence: Fence, *, trials: int, concurrent: int | None
) -> None:
    """Runs the remaining trials, and prints all trials, best first.

    Args:
        reader: The reader of the recipe's corpus.
        fence: The fence of the sweep's lease.

    Raises:
        DamagedFile: A file of a trial is damaged.
        SweepError: No trial reached a validation.
        SweepUnfinished: Trials were given up that another call may complete.
    """
    from mulan.launch.capacity import capacity
    from tune.planned import planned_trials
    from tune.preview import describe_concurrency, print_trials
    from tune.room import trials_at_once
    from tune.trials import run_trials

    all_trials = planned_trials(recipe, run, trials)
    errors: list[str] = []
    lost: list[str] = []
    if not all(one.is_over(recipe) for one in all_trials[:trials]):
        join_and_report(recipe, run, reader, label="sweep")
        cluster = capacity()
        room = concurrent or trials_at_once(recipe.scale, cluster)
        print(f"tune  {describe_concurrency(recipe.scale, room, cluster)}", flush=True)
        errors, lost = run_trials(
            recipe, run, all_trials, num_trials=trials, concurrent=room, reader=share_reader(reader), fence=fence
        )
    print_trials(all_trials, [*errors, *lost], recipe, CONSOLE)
    if lost:
        raise SweepUnfinished(f"{len(lost)} trials were given up; the same command resumes them: {lost[0]}")


def describe(recipe: Recipe, run: Run, *, trials: int, concurrent: int | None) -> None:
    """Prints the preview of the sweep as TOML comments, so that the output remains a recipe.

    If ``RAY_ADDRESS`` names a cluster, it must have been joined.
    """
    from mulan.launch.capacity import Capacity, Node, capacity
    from tune.planned import planned_trials
    from tune.preview import preview

    local = Capacity((Node("this machine", local_resources(recipe.scale), {}),))
    cluster = capacity() if os.environ.get("RAY_ADDRESS") else local
    for line in preview(
        recipe, planned_trials(recipe, run, trials), num_trials=trials, concurrent=concurrent, cluster=cluster
    ):
        print(f"# {line}")


def for_sweep(recipe: Recipe, trials: int) -> Recipe:
    """Returns the recipe with a checkpoint at every validation, where trials are compared.

    Raises:
        SweepError: There are no trials, or no validation to compare them by.
    """
    errors = []
    if trials < 1:
        errors.append(f"--trials {trials}: at least 1 is needed")
    if not recipe.train.validation_micro_batches:
        errors.append("train.validation_micro_batches = 0: trials are compared by validation; set it above 0")
    if errors:
        raise SweepError("; ".join(errors))
    every = recipe.train.validate_every_steps or recipe.train.steps
    return recipe.replace({"train.checkpoint_every_steps": every})


if __name__ == "__main__":
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    arguments.end(main)

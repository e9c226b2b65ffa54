"""Train a recipe on a prepared corpus: python -m jobs.train --recipe demo --data URI --storage URI --name RUN

Submit it to a cluster with ``jobs.submit``, or run it anywhere: without a cluster it starts one on this machine.
The run's folder, STORAGE/RUN, holds the recipe, metrics, checkpoints and, at the end, the exported model.

With ``--replay-step S``, a step of a run is repeated in this process and diagnosed, and nothing is written.
"""

import argparse

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.export import export
from jobs.joining import check_training, join_and_report, print_dry_run
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.launch.checks import check_corpus, check_replay
from mulan.launch.cluster import share_reader
from mulan.launch.display import show_progress
from mulan.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.train", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser, of_run=True)
    arguments.add_data(parser, default="the recipe's data.uri")
    arguments.add_run(parser)
    parser.add_argument(
        "--replay-step", metavar="S", type=int, help="repeat a step of this run, print its diagnosis, and stop"
    )
    args = parser.parse_args()
    if args.replay_step is not None:
        run_replay(args)
        return
    if args.recipe is None:
        parser.error("the following arguments are required: --recipe")
    run = arguments.run_of(args)
    recipe = arguments.recipe_to_train(args)
    if args.dry_run:
        print_dry_run(recipe, run, check_training(recipe, run))
        return
    train(recipe, run)


def train(recipe: Recipe, run: Run) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one, and exports its model.

    Raises:
        MulanError: A check failed, the cluster cannot train the recipe, or the run stopped.
    """
    reader = check_training(recipe, run)
    join_and_report(recipe, run, reader, label="train")
    # imports torch and Ray Train
    from mulan.launch.fit import fit

    shared = share_reader(reader)
    del reader  # frees the index, which may take gigabytes, for the duration of training
    with show_progress(run, recipe, CONSOLE), run.timed("train"):
        fit(recipe, run, reader=shared)
    export(run)


def run_replay(args: argparse.Namespace) -> None:
    """Replays a step of a run; ``--recipe`` defaults to the run's."""
    run = arguments.run_of(args)
    recipe = arguments.recipe_of_run(args, run)
    uri = arguments.data_of(args, recipe)
    recipe = recipe.replace({"data.uri": uri})
    check_replay(run, args.replay_step)
    reader = check_corpus(recipe)
    if args.dry_run:
        print(recipe.to_toml(), end="")
        return
    replay_step(recipe, run, args.replay_step, reader)


def replay_step(recipe: Recipe, run: Run, step: int, reader: MicroBatchReader) -> None:
    """Replays a step of a run and prints its diagnosis."""
    from mulan.debugging.replay import replay

    replay(recipe, run, step, CONSOLE, reader=reader)


if __name__ == "__main__":
    arguments.end(main)

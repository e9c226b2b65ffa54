"""Train a recipe on a prepared corpus: python -m jobs.train --recipe demo --data URI --storage URI --name RUN

Submit it to a cluster with ``jobs.submit``, or run it anywhere: without a cluster it starts one on this machine.
The run's folder, STORAGE/RUN, holds the recipe, metrics, checkpoints and, at the end, the exported model.

With ``--profile-steps A:B``, these steps are profiled; with ``--watch-hangs``, the stacks of all workers are written
when a step takes far longer than the others. Both write into the run's folder, and change no result. With
``--replay-step S``, a step of a run is repeated in this process and diagnosed, and nothing is written.
"""

import argparse

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.export import export
from jobs.joining import check_training, join_and_report, print_dry_run
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.instrumentation.hang_reports import HangReports
from mulan.instrumentation.settings import MAX_PROFILED_STEPS, TIMES_THE_MEDIAN, InstrumentSettings, StepRange
from mulan.launch.checks import check_corpus, check_instruments, check_is_no_sweep, check_replay
from mulan.launch.cluster import share_reader
from mulan.launch.display import show_progress
from mulan.runs.run import Run
from mulan.tracking.registry import tracker_lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.train", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser, of_run=True)
    arguments.add_data(parser, default="the recipe's data.uri")
    arguments.add_run(parser)
    parser.add_argument(
        "--replay-step", metavar="S", type=int, help="repeat a step of this run, print its diagnosis, and stop"
    )
    add_instruments(parser)
    args = parser.parse_args()
    instruments = InstrumentSettings(profile_steps=args.profile_steps, watch_hangs=args.watch_hangs)
    if args.replay_step is not None:
        if instruments != InstrumentSettings():
            parser.error("--replay-step trains nothing, so that there is nothing to profile or to watch")
        run_replay(args)
        return
    if args.recipe is None:
        parser.error("the following arguments are required: --recipe")
    run = arguments.run_of(args)
    recipe = arguments.recipe_to_train(args)
    check_instruments(instruments, recipe, run)
    if args.dry_run:
        print_dry_run(recipe, run, _checked(recipe, run))
        return
    train(recipe, run, instruments)


def add_instruments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--profile-steps`` and ``--watch-hangs``."""
    parser.add_argument(
        "--profile-steps",
        metavar="A:B",
        type=_step_range,
        help=f"write a trace of each worker and a summary of steps A to B, at most {MAX_PROFILED_STEPS}",
    )
    parser.add_argument(
        "--watch-hangs",
        action="store_true",
        help=f"write the stacks of all workers when a step takes {TIMES_THE_MEDIAN:.0f} times the median",
    )


def _step_range(text: str) -> StepRange:
    try:
        return StepRange.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def train(recipe: Recipe, run: Run, instruments: InstrumentSettings | None = None) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one, and exports its model.

    Args:
        recipe: The recipe to begin or resume with.
        run: The run.
        instruments: What the workers measure or watch around each step.

    Raises:
        MulanError: A check failed, the cluster cannot train the recipe, or the run stopped.
    """
    reader = _checked(recipe, run)
    join_and_report(recipe, run, reader, label="train")
    for line in tracker_lines(recipe.logging.trackers, run):
        CONSOLE.print(f"train  {line}", soft_wrap=True)
    # imports torch and Ray Train
    from mulan.launch.fit import fit

    shared = share_reader(reader)
    del reader  # frees the index, which may take gigabytes, for the duration of training
    hangs = HangReports(run.uri) if instruments and instruments.watch_hangs else None
    with show_progress(run, recipe, CONSOLE, hangs), run.timed("train"):
        fit(recipe, run, reader=shared, instruments=instruments)
    export(run)


def _checked(recipe: Recipe, run: Run) -> MicroBatchReader:
    reader = check_training(recipe, run)
    check_is_no_sweep(run)
    return reader


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

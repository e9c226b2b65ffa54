"""Train a recipe on a prepared corpus: python -m jobs.train --recipe demo --data URI --storage URI --name RUN

Submit it to a cluster with ``ray job submit``, or run it anywhere: without a cluster it starts one on this machine.
The run's folder, STORAGE/RUN, holds the recipe, metrics, checkpoints and, at the end, the exported model.
"""

import argparse

from jobs import arguments
from mulan.config.recipe import Recipe
from mulan.training.cluster import connect
from mulan.training.fit import check_corpus, fit
from mulan.training.progress import show_progress
from mulan.training.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.train", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser)
    parser.add_argument("--data", metavar="URI", help="folder of a prepared corpus (default: the recipe's data.uri)")
    arguments.add_run(parser)
    given = parser.parse_args()
    recipe = arguments.recipe_of(given, data_uri=given.data)
    run = arguments.run_of(given)
    check_corpus(recipe)
    run.check(recipe)
    if given.dry_run:
        print(recipe.to_toml(), end="")
        return
    connect(recipe.scale)
    train(recipe, run)


def train(recipe: Recipe, run: Run) -> None:
    """Trains to the last step, showing progress, and exports the model."""
    from mulan.training.export import export_run

    with show_progress(run, recipe), run.timed("train"):
        fit(recipe, run)
    steps_done = export_run(run)
    print(f"export  model of step {steps_done}: {run.model_uri}")


if __name__ == "__main__":
    arguments.end(main)

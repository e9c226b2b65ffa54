"""Evaluate a run's model on a held-out split: python -m jobs.evaluate --storage URI --name RUN

Zero-shot tagging and text-to-music retrieval, with a shuffled-label control; writes report.json and report.html.
"""

import argparse
import os

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.joining import join_to_evaluate
from mulan.config.recipe import Recipe
from mulan.data.corpus.index import SPLITS, Corpus
from mulan.launch.checks import check_loadable, check_model
from mulan.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.evaluate", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser, of_run=True)
    arguments.add_run(parser)
    arguments.add_data(parser, default="the training corpus")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    args = parser.parse_args()
    run = arguments.run_of(args)
    recipe = arguments.recipe_of_run(args, run)
    data_uri = arguments.data_of(args, recipe)
    corpus = check_model(run, data_uri, args.split)
    run.metrics()  # the report needs them: if they are damaged, raises before the model runs
    run.check_writable()
    check_loadable(run)
    if not args.dry_run or os.environ.get("RAY_ADDRESS"):
        join_to_evaluate(recipe.scale)
    if args.dry_run:
        print(recipe.to_toml(), end="")
        return
    assess(run, recipe, corpus=corpus, split=args.split)


def assess(run: Run, recipe: Recipe, *, corpus: Corpus, split: str = "test") -> None:
    """Evaluates a run's model, writes the results to its folder, and prints them."""
    from mulan.launch.evaluate_run import evaluate_run

    evaluate_run(run, CONSOLE, corpus=corpus, split=split, use_gpu=recipe.scale.use_gpu)


if __name__ == "__main__":
    arguments.end(main)

"""Run mulan end to end on this machine: render a corpus of music, train on it, evaluate: python -m jobs.demo

Writes everything to runs/demo. The same command resumes an interrupted demo.
"""

import argparse
import os

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.evaluate import assess, request
from jobs.joining import print_dry_run
from jobs.progress import RecordingsProgress
from jobs.train import train
from mulan.config.errors import MulanError
from mulan.data.corpus.index import INDEX_NAME
from mulan.demo.corpus import build_corpus
from mulan.launch.checks import check_buildable
from mulan.storage import filesystem
from mulan.tracking.registry import check_trackers


class DemoRefused(MulanError, ValueError):
    """The demo cannot run with these arguments."""


TRACKS = 1200
SEED = 2022


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.demo", description=__doc__.split("\n")[0])
    arguments.add_recipe(parser, default="demo")
    arguments.add_run(parser, name="demo")
    arguments.add_data(parser, default="STORAGE/RUN/corpus")
    parser.add_argument("--tracks", type=int, default=TRACKS, help="recordings in the corpus (default: %(default)s)")
    args = parser.parse_args()
    run = arguments.run_of(args)
    if args.tracks < 1:
        raise DemoRefused(f"--tracks {args.tracks}: at least 1 is needed")
    recipe = arguments.recipe_of(args, data_uri=filesystem.join(run.uri, "corpus") if args.data is None else args.data)
    data_uri = recipe.data.uri
    if recipe.loss.weights.uses_classes:
        raise DemoRefused(
            f"--recipe {args.recipe} is trained on classes of AudioSet, which the demo's corpus does not have; prepare "
            "one that has them with jobs.prepare --source audioset=FOLDER, and train on it with jobs.train"
        )
    run.check(recipe)
    run.check_writable()
    check_trackers(recipe.logging.trackers)
    check_buildable(recipe)
    if not filesystem.exists(filesystem.join(data_uri, INDEX_NAME)):
        filesystem.check_writable(data_uri)
    if args.dry_run:
        print_dry_run(recipe, run)
        return
    with run.timed("corpus"), RecordingsProgress("corpus", CONSOLE) as progress:
        build_corpus(data_uri, tracks=args.tracks, seed=SEED, workers=os.cpu_count() or 1, on_progress=progress)
    train(recipe, run)
    assess(request(run=run, data_uri=data_uri))


if __name__ == "__main__":
    arguments.end(main)

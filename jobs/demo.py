"""Run mulan end to end on this machine: render a corpus of music, train on it, evaluate: python -m jobs.demo

Writes everything to runs/demo, also an index of the corpus, which jobs.serve searches. The same command resumes an
interrupted demo.
"""

import argparse
import os
import shlex

from jobs import arguments
from jobs.arguments import CONSOLE
from jobs.embed import embed
from jobs.embed import request as request_embeddings
from jobs.evaluate import assess, request
from jobs.joining import print_dry_run
from jobs.progress import RecordingsProgress
from jobs.train import train
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.demo.corpus import build_corpus
from mulan.launch.checks import check_buildable
from mulan.runs.run import Run
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
    if recipe.loss.weights.embeds_text:
        with run.timed("search"):
            make_searchable(recipe, run)
    assess(request(run=run, data_uri=data_uri))
    if recipe.loss.weights.embeds_text:
        CONSOLE.print(f"search: python -m jobs.serve --index {shlex.quote(run.search_index_uri)}", soft_wrap=True)


def make_searchable(recipe: Recipe, run: Run) -> None:
    """Embeds the recordings of a run's corpus by its exported model, and indexes them; what is there already stays.

    Raises:
        MulanError: Too many recordings cannot be embedded, or a machine or the storage failed.
    """
    # imports torch
    from jobs.index import add, described
    from mulan.collection.embeddings import CollectionEmbeddings
    from mulan.search.manifest import MANIFEST_NAME, IndexManifest

    embed(
        request_embeddings(
            run.model_uri,
            recipe.data.uri,
            run.search_embeddings_uri,
            windows=True,
            max_skipped_share=recipe.data.max_skipped_share,
            use_gpu=recipe.scale.use_gpu,
        )
    )
    embeddings, uri = CollectionEmbeddings.open(run.search_embeddings_uri), run.search_index_uri
    if run.has_search_index and IndexManifest.read(uri).model.sha256 != embeddings.model.sha256:
        # of the model before the run was trained further; without it, the index is unfinished and made anew
        filesystem.remove(filesystem.join(uri, MANIFEST_NAME))
    CONSOLE.print(described(add(uri, embeddings)), soft_wrap=True)


if __name__ == "__main__":
    arguments.end(main)

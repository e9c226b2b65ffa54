"""The cluster that a job runs on: joined, and looked at before anything of it is taken."""

import os

from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index import INDEX_NAME
from mulan.data.reader import MicroBatchReader
from mulan.launch.cluster import connect
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from mulan.storage import filesystem


def join(recipe: Recipe, run: Run, reader: MicroBatchReader | None = None) -> list[str]:
    """Joins the cluster, or starts one on this machine, and makes sure that it can train a recipe.

    Args:
        run: of which nothing is asked of the cluster once it is trained.
        reader: of the recipe, where there is one already.

    Returns:
        what to tell whoever watches the job, a line each.

    Raises:
        ClusterRefused, ClusterFailed: there is no cluster to be had.
        ClusterUnfit: it cannot do what is asked; lists all that is wrong.
    """
    connect(recipe.scale)
    if any(one.steps_done >= recipe.train.steps for one in checkpoints(run.uri)[:1]):
        return []
    from mulan.launch.preflight import preflight

    corpus_uris = [filesystem.join(recipe.data.uri, INDEX_NAME)]
    if reader is not None:
        corpus_uris += reader.corpus.byte_ranges([0])[0]
    return preflight(recipe, run, corpus_uris=tuple(corpus_uris))


def looked_at(recipe: Recipe, run: Run, reader: MicroBatchReader | None = None) -> list[str]:
    """Does as :func:`join` does for ``--dry-run``, where ``RAY_ADDRESS`` names a cluster; none is started elsewhere."""
    return join(recipe, run, reader) if os.environ.get("RAY_ADDRESS") else []


def join_to_evaluate(scale: ScaleConfig) -> None:
    """Joins the cluster, or starts one on this machine, and makes sure that it may have what an evaluation needs.

    Raises:
        ClusterRefused, ClusterFailed: there is no cluster to be had.
        ClusterUnfit: it never can.
    """
    connect(scale)
    from mulan.launch.preflight import check_room_to_evaluate

    check_room_to_evaluate(scale)

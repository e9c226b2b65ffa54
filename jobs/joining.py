"""The common steps of jobs before they train or evaluate: the checks, joining the cluster, and ``--dry-run``."""

import os

from jobs.arguments import CONSOLE
from mulan.config.checks import pretraining_warnings
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.reader import MicroBatchReader
from mulan.launch.checks import check_corpus, licence_lines
from mulan.launch.cluster import connect
from mulan.runs.checkpoint_list import steps_saved
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.tracking.registry import check_trackers


def check_training(recipe: Recipe, run: Run) -> MicroBatchReader:
    """Checks, before any cluster is joined, that a run can train its recipe.

    Returns:
        The reader of the recipe's corpus.

    Raises:
        MulanError: A check failed; the error of the first one is raised.
    """
    run.check(recipe)
    check_trackers(recipe.logging.trackers)
    reader = check_corpus(recipe)
    run.check(recipe, reader.corpus.index_sha256)
    run.check_writable()
    return reader


def join(recipe: Recipe, run: Run, reader: MicroBatchReader | None = None) -> list[str]:
    """Joins the cluster, or starts one on this machine, and checks that it can train a recipe.

    Args:
        recipe: The recipe of the run.
        run: The run; if it is fully trained, the cluster is not checked.
        reader: The reader of the recipe's corpus, if it has been opened.

    Returns:
        The lines that the job reports.

    Raises:
        ClusterRefused, ClusterFailed: No cluster can be joined or started.
        ClusterUnfit: The cluster cannot train the recipe; lists all reasons.
    """
    connect(recipe.scale)
    if steps_saved(run.uri) >= recipe.train.steps:
        return []
    from mulan.launch.preflight import preflight

    corpus_uris = [filesystem.join(recipe.data.uri, INDEX_NAME)]
    if reader is not None:
        corpus_uris += [location.uri for location in reader.corpus.locations([0])]
    return preflight(recipe, run, corpus_uris=tuple(corpus_uris))


def join_and_report(recipe: Recipe, run: Run, reader: MicroBatchReader | None = None, *, label: str) -> None:
    """Joins the cluster (:func:`join`), and prints licences and what it reports, each line after ``label``."""
    for line in [*licence_lines(recipe), *join(recipe, run, reader)]:
        CONSOLE.print(f"{label}  {line}", soft_wrap=True)


def print_dry_run(recipe: Recipe, run: Run, reader: MicroBatchReader | None = None) -> None:
    """Prints the resolved recipe for ``--dry-run``, followed by its warnings, licences and what :func:`join` reports.

    These lines are comments of TOML. The cluster is joined only if ``RAY_ADDRESS`` names one; none is started.
    """
    report = [*pretraining_warnings(recipe.audio_tower), *licence_lines(recipe)]
    if os.environ.get("RAY_ADDRESS"):
        report += join(recipe, run, reader)
    print(recipe.to_toml(), *(f"# {line}\n" for line in report), sep="", end="")


def join_to_evaluate(scale: ScaleConfig) -> None:
    """Joins the cluster, or starts one on this machine, and checks that it can run an evaluation.

    Raises:
        ClusterRefused, ClusterFailed: No cluster can be joined or started.
        ClusterUnfit: The cluster can never have the resources.
    """
    connect(scale)
    from mulan.launch.preflight import check_room_to_evaluate

    check_room_to_evaluate(scale)

"""Checks of a cluster before a job starts on it. All problems are reported together."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from mulan.config.checks import worker_counts
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import (
    Capacity,
    Node,
    capacity,
    format_resources,
    has_labels,
    num_fitting,
    reader_labels,
    worker_resources,
)
from mulan.launch.cluster import started_ray
from mulan.launch.probe import MIN_FREE_BYTES, NodeRequirements, versions
from mulan.launch.probing import Problem, probe_nodes
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.hub import TEXT_ENCODER, RequiredFiles, audio_checkpoint_files

LIMIT_S = 25.0
"""The time limit for the checks of all nodes."""
_MAX_NAMED = 3
"""The maximum number of nodes that are named for one problem."""


class ClusterUnfit(MulanError):
    """The cluster does not meet the requirements of a job. Lists all problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        self.exit_code = 2 if any(problem.permanent for problem in problems) else 1
        listed = "\n".join(f"  - {line}" for line in _lines(problems))
        super().__init__(f"the cluster cannot run this job:\n{listed}\nNothing was started.")

    def __reduce__(self) -> tuple[type["ClusterUnfit"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def preflight(recipe: Recipe, run: Run, *, corpus_uris: tuple[str, ...] = ()) -> list[str]:
    """Checks within 30 s that the cluster can train a recipe. Changes nothing.

    Ray must be initialised. No node is started. If this process started Ray, only the resources are checked: everything
    else has been checked in this process.

    Args:
        corpus_uris: Files of the corpus that must be readable on all nodes that read data.

    Returns:
        Warnings, one line each: what makes training slower, and what could not be checked.

    Raises:
        ClusterUnfit: The cluster cannot train the recipe.
    """
    begun = time.monotonic()
    cluster = capacity()
    problems = list(resource_problems(recipe, cluster))
    warnings = list(resource_warnings(recipe.scale, cluster))
    if not started_ray():
        with _marker_file(run.uri) as marker_uri:
            requirements = JobRequirements(recipe, cluster, run.uri, marker_uri, corpus_uris)
            left_s = max(1.0, LIMIT_S - (time.monotonic() - begun))
            by_node = [(node, requirements.for_node(node)) for node in cluster.nodes]
            node_problems, unchecked = probe_nodes(by_node, limit_s=left_s)
        problems += node_problems
        warnings += unchecked
    if problems:
        raise ClusterUnfit(problems)
    return warnings


def resource_problems(recipe: Recipe, cluster: Capacity) -> Iterator[Problem]:
    """Yields a problem if the cluster can never hold the minimum number of workers."""
    scale, bundle = recipe.scale, worker_resources(recipe.scale)
    min_workers = min(worker_counts(recipe.batch, recipe.train, scale))
    limit = cluster.fit_ever(bundle)
    if limit is not None and limit < min_workers:
        yield Problem(
            "",
            f"{min_workers} worker{'s' * (min_workers > 1)} of {format_resources(bundle)} can never run here: there is "
            f"room for {limit} ({cluster.describe()}); request fewer or smaller workers (scale.workers, "
            "scale.cpus_per_worker, scale.use_gpu), or use a larger cluster",
        )


def check_room_to_evaluate(scale: ScaleConfig, cluster: Capacity | None = None) -> None:
    """Checks that the tasks of an evaluation, which read and embed, can ever run.

    Args:
        cluster: The capacity; if omitted, Ray is queried, which must be initialised.

    Raises:
        ClusterUnfit: The tasks can never run.
    """
    cluster = cluster or capacity()
    problems = [
        Problem(
            "",
            f"an evaluation needs a {name}, which this cluster can never have ({cluster.describe()}); "
            + ("add --no-use-gpu, or " if name == "GPU" else "")
            + "use another cluster",
        )
        for name in (["CPU", "GPU"] if scale.use_gpu else ["CPU"])
        if cluster.fit_ever({name: 1.0}) == 0
    ]
    if problems:
        raise ClusterUnfit(problems)


def resource_warnings(scale: ScaleConfig, cluster: Capacity) -> Iterator[str]:
    """Yields a warning if the cluster can never provide all CPUs that the recipe requests for readers."""
    labels = reader_labels(scale, cluster)
    limit = cluster.fit_ever({"CPU": 1.0}, labels)
    if limit is None:
        return
    if not labels:  # readers share the nodes with the workers
        limit = max(0, limit - scale.min_workers * scale.cpus_per_worker)
    if limit < scale.data_cpus:
        where = f" on nodes with {', '.join(f'{name}={value}' for name, value in labels.items())}" if labels else ""
        yield (
            f"{scale.data_cpus} CPUs are requested for reading data (scale.data_cpus), but there is never room for "
            f"more than {limit}{where}; if these are too few, training is slower"
        )


@dataclass(frozen=True)
class JobRequirements:
    """The requirements of a job on the nodes of a cluster."""

    recipe: Recipe
    cluster: Capacity
    run_uri: str
    marker_uri: str
    corpus_uris: tuple[str, ...]

    def for_node(self, node: Node) -> NodeRequirements:
        """Returns the requirements on one node, which may hold workers, readers, or neither."""
        scale = self.recipe.scale
        required = NodeRequirements(versions())
        trains = num_fitting(worker_resources(scale), node.resources) > 0
        if trains:
            required = replace(
                required,
                run_uri=self.run_uri,
                marker_uri=self.marker_uri,
                weights=tuple(weights(self.recipe)),
                gpus=int(node.resources["GPU"]) if scale.use_gpu else 0,
                free_bytes=MIN_FREE_BYTES,
            )
        reads = num_fitting({"CPU": 1.0}, node.resources) > 0 and has_labels(
            reader_labels(scale, self.cluster), node.labels
        )
        # a worker that receives no batches reads for itself
        return replace(required, corpus_uris=self.corpus_uris) if reads or trains else required


def weights(recipe: Recipe) -> Iterator[tuple[str, RequiredFiles]]:
    """Yields the pretrained weights that a recipe names, with the files that each needs."""
    if recipe.loss.weights.uses_text and recipe.text_tower.pretrained:
        yield recipe.text_tower.pretrained, TEXT_ENCODER
    needed = audio_checkpoint_files(recipe.audio_tower)
    if needed is not None:
        yield recipe.audio_tower.pretrained, needed


def _lines(problems: Sequence[Problem]) -> Iterator[str]:
    """Yields each problem once, with all nodes that have it."""
    where: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        where[problem.text].append(problem.where)
    for text, nodes in where.items():
        more = f" and {len(nodes) - _MAX_NAMED} more" if nodes[_MAX_NAMED:] else ""
        named = ", ".join(nodes[:_MAX_NAMED]) + more
        yield f"{named}: {text}" if named else text


@contextmanager
def _marker_file(uri: str) -> Iterator[str]:
    """Creates a marker file in a folder, or in its nearest existing parent, and removes it after the block."""
    folder = uri
    if filesystem.is_local(uri):
        while not os.path.isdir(folder := filesystem.url_to_fs(folder)[1]):
            folder = os.path.dirname(folder)
    marker = filesystem.join(folder, f".seen-{uuid4().hex}")
    filesystem.write_atomically(marker, b"-")
    try:
        yield marker
    finally:
        with suppress(StorageError, FileNotFoundError):
            filesystem.remove(marker)

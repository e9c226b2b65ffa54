"""What is made sure of on a cluster before anything of it is taken: all that is wrong is told at once."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from mulan.config.audio import AstTowerConfig
from mulan.config.checks import worker_counts
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.launch.capacity import Capacity, Node, capacity, data_nodes, fitting, has, size, worker_resources
from mulan.launch.cluster import ends_with_this_process
from mulan.launch.probe import MIN_FREE_BYTES, Asked, versions
from mulan.launch.probing import Fault, probed
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.hub import AST_CHECKPOINT, TEXT_ENCODER, RequiredFiles

LIMIT_S = 25.0
"""In which nodes must tell what they have."""
_MAX_NAMED = 3
"""Nodes of which the same is told."""


class ClusterUnfit(MulanError):
    """A cluster that cannot do what a job asks of it. Lists every fault found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        self.exit_code = 2 if any(fault.lasting for fault in faults) else 1
        told = "\n".join(f"  - {line}" for line in _lines(faults))
        super().__init__(f"the cluster cannot do this job as it is:\n{told}\nNothing was started.")

    def __reduce__(self) -> tuple[type["ClusterUnfit"], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)


def preflight(recipe: Recipe, run: Run, *, corpus_uris: tuple[str, ...] = ()) -> list[str]:
    """Looks whether the cluster can do what a recipe asks for; it takes 30 s at most, and leaves nothing behind.

    Ray must be initialised. No node is started for it. Of a Ray that was started by this process only the room is
    looked at: all else was made sure of in this process.

    Args:
        corpus_uris: files of the corpus, which nodes that read must be able to read.

    Returns:
        what makes training slower, or could not be looked at, a line each.

    Raises:
        ClusterUnfit: it cannot.
    """
    begun = time.monotonic()
    cluster = capacity()
    faults = list(room_faults(recipe, cluster))
    warnings = list(room_warnings(recipe.scale, cluster))
    if not ends_with_this_process():
        with _marked(run.uri) as mark_uri:
            asked = Wanted(recipe, cluster, run.uri, mark_uri, corpus_uris)
            left_s = max(1.0, LIMIT_S - (time.monotonic() - begun))
            found, unseen = probed([(node, asked.of(node)) for node in cluster.nodes], limit_s=left_s)
        faults += found
        warnings += unseen
    if faults:
        raise ClusterUnfit(faults)
    return warnings


def room_faults(recipe: Recipe, cluster: Capacity) -> Iterator[Fault]:
    """Tells where the cluster can never have room for the least number of workers."""
    scale, bundle = recipe.scale, worker_resources(recipe.scale)
    least = min(worker_counts(recipe.batch, recipe.train, scale))
    ever = cluster.ever(bundle)
    if ever is not None and ever < least:
        yield Fault(
            "",
            f"{least} worker{'s' * (least > 1)} of {size(bundle)} can never run here: there is room for {ever} "
            f"({cluster.in_words()}); ask for fewer or smaller ones (scale.workers, scale.cpus_per_worker, "
            "scale.use_gpu), or for a cluster that may have them",
        )


def check_room_to_evaluate(scale: ScaleConfig, cluster: Capacity | None = None) -> None:
    """Makes sure that the tasks of an evaluation can ever run: those that read, and those that embed.

    Args:
        cluster: if not given, Ray is asked, which must be initialised.

    Raises:
        ClusterUnfit: they cannot.
    """
    cluster = cluster or capacity()
    faults = [
        Fault(
            "",
            f"an evaluation needs a {name}, and there is none here, nor can one come ({cluster.in_words()}); "
            + ("set scale.use_gpu=false, or " if name == "GPU" else "")
            + "ask for a cluster that may have one",
        )
        for name in (["CPU", "GPU"] if scale.use_gpu else ["CPU"])
        if cluster.ever({name: 1.0}) == 0
    ]
    if faults:
        raise ClusterUnfit(faults)


def room_warnings(scale: ScaleConfig, cluster: Capacity) -> Iterator[str]:
    """Tells where the cluster can never have room for all CPUs that are to read."""
    labels = data_nodes(scale, cluster)
    ever = cluster.ever({"CPU": 1.0}, labels)
    if ever is None:
        return
    if not labels:  # readers share the nodes with the workers
        ever = max(0, ever - scale.min_workers * scale.cpus_per_worker)
    if ever < scale.data_cpus:
        where = f" on nodes with {', '.join(f'{name}={value}' for name, value in labels.items())}" if labels else ""
        yield (
            f"{scale.data_cpus} CPUs are to read (scale.data_cpus), and there is never room for more than "
            f"{ever}{where}; where that is too little, training is slower"
        )


@dataclass(frozen=True)
class Wanted:
    """What a job asks of the nodes of a cluster."""

    recipe: Recipe
    cluster: Capacity
    run_uri: str
    mark_uri: str
    corpus_uris: tuple[str, ...]

    def of(self, node: Node) -> Asked:
        """What it asks of one node, which may hold workers, readers, or neither."""
        scale = self.recipe.scale
        asked = Asked(versions())
        trains = fitting(worker_resources(scale), node.resources) > 0
        if trains:
            asked = replace(
                asked,
                run_uri=self.run_uri,
                mark_uri=self.mark_uri,
                weights=tuple(weights(self.recipe)),
                gpus=int(node.resources["GPU"]) if scale.use_gpu else 0,
                free_bytes=MIN_FREE_BYTES,
            )
        reads = fitting({"CPU": 1.0}, node.resources) > 0 and has(data_nodes(scale, self.cluster), node.labels)
        # a worker without batches reads for itself
        return replace(asked, corpus_uris=self.corpus_uris) if reads or trains else asked


def weights(recipe: Recipe) -> Iterator[tuple[str, RequiredFiles]]:
    """Tells what pretrained weights a recipe names, and what each is for."""
    if recipe.loss.weights.uses_text and recipe.text_tower.pretrained:
        yield recipe.text_tower.pretrained, TEXT_ENCODER
    if isinstance(recipe.audio_tower, AstTowerConfig) and recipe.audio_tower.pretrained:
        yield recipe.audio_tower.pretrained, AST_CHECKPOINT


def _lines(faults: Sequence[Fault]) -> Iterator[str]:
    """The faults, each told once for all nodes that have it."""
    places: dict[str, list[str]] = defaultdict(list)
    for fault in faults:
        places[fault.text].append(fault.where)
    for text, nodes in places.items():
        more = f" and {len(nodes) - _MAX_NAMED} more" if nodes[_MAX_NAMED:] else ""
        where = ", ".join(nodes[:_MAX_NAMED]) + more
        yield f"{where}: {text}" if where else text


@contextmanager
def _marked(uri: str) -> Iterator[str]:
    """A file in a folder, or where it would be made, for as long as the block lasts."""
    folder = uri
    if filesystem.is_local(uri):
        while not os.path.isdir(folder := filesystem.url_to_fs(folder)[1]):
            folder = os.path.dirname(folder)
    mark = filesystem.join(folder, f".seen-{uuid4().hex}")
    filesystem.write_atomically(mark, b"-")
    try:
        yield mark
    finally:
        with suppress(StorageError, FileNotFoundError):
            filesystem.remove(mark)

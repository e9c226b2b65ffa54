"""A run that is not disturbed, runs that are, and what must hold of them."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mulan.config.recipe import Recipe
from mulan.data.examples import MicroBatchReader
from mulan.data.schedule import Phase
from mulan.training.batch_source import consumed_checksum
from mulan.training.checkpoint import checkpoints
from mulan.training.run import Run
from tests.chaos.growth import Growth, Samples
from tests.chaos.job import Job, Watch, wait_until
from tests.chaos.strikes import STEP_LIMIT_S, Cost, Strike, run_under
from tests.nodes import ENVIRONMENT, RAY, Cluster, Node, cluster
from tests.processes import run_in_processes
from tests.training.inline import train_inline

NODE_CPUS = 2
NOTICE_S = 30


def settings(steps: int, *more: str) -> list[str]:
    return [
        f"train.steps={steps}",
        "train.checkpoint_every_steps=5",
        "train.validate_every_steps=0",
        "train.validation_micro_batches=0",
        *more,
    ]


@contextmanager
def two_nodes(cpus: int = NODE_CPUS) -> Iterator[Cluster]:
    with cluster() as started:
        for _ in range(2):
            started.add_node(cpus=cpus)
        yield started


def undisturbed(nodes: Cluster, corpus_uri: str, run: Run, steps: int) -> list[Growth]:
    """A run to its end, and how what it holds has grown."""
    log = Path(run.storage_uri, f"{run.name}.log")
    with (
        Job(nodes, run, corpus_uri, settings(steps), log=log) as job,
        Watch(run) as watch,
        Samples(job, watch) as samples,
    ):
        wait_until(lambda: job.exit_code is not None, limit_s=STEP_LIMIT_S + 5 * steps, what="the end of the run")
        assert job.exit_code == 0, job.output()
        return samples.growth()


def disturbed(
    nodes: Cluster, corpus_uri: str, run: Run, strikes: Sequence[Strike], steps: int, seed: int
) -> list[Cost]:
    """A run to its end through the strikes."""
    log = Path(run.storage_uri, f"{run.name}.log")
    patience = settings(steps, "scale.collective_timeout_s=60")
    with Job(nodes, run, corpus_uri, patience, log=log) as job, Watch(run) as watch:
        return run_under(strikes, job, watch, node_cpus=NODE_CPUS, seed=seed)


def assert_nothing_lost(run: Run, twin: Run) -> None:
    """The run has the twin's losses bit for bit, and each of its steps consumed what the plan has for it."""
    lines, undisturbed_lines = run.metrics(), twin.metrics()
    assert [line["step"] for line in lines] == list(range(1, len(undisturbed_lines) + 1))
    assert losses(lines) == losses(undisturbed_lines)
    assert [line["recordings"] for line in lines] == planned_recordings(run.recipe())


def losses(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def planned_recordings(recipe: Recipe) -> list[str]:
    """For each step the checksum of the recordings that the plan has in its places, where none must be replaced."""
    reader = MicroBatchReader.of(recipe)
    checksums = []
    for step in range(recipe.train.steps):
        checksum = 0
        for micro_batch in range(recipe.batch.micro_batches):
            rows = [example.row for example in reader.plans[Phase.TRAIN].micro_batch(step, micro_batch)]
            checksum ^= consumed_checksum(micro_batch, tuple(reader.corpus.recording_ids(rows)))
        checksums.append(f"{checksum:016x}")
    return checksums


def machine_taken_and_given_back(corpus_uri: str, run: Run, folder: Path, steps: int) -> list[tuple[str, float]]:
    """Two workers; a machine is announced to go, and goes; one worker goes on; a machine comes, and there are two.

    Returns:
        What happened, and how many seconds after the start.
    """
    elastic = settings(
        steps,
        "scale.workers=[1, 2]",
        "scale.cpus_per_worker=2",
        "batch.pairs_per_micro_batch=64",
        "train.checkpoint_every_steps=1000",
    )
    log = Path(run.storage_uri, f"{run.name}.log")
    begun, story = time.time(), []

    def then(what: str) -> None:
        story.append((what, time.time() - begun))

    def wait_for(true: Any, what: str) -> None:
        wait_until(lambda: job.exit_code is not None or true(), limit_s=STEP_LIMIT_S, what=what)
        assert job.exit_code is None, job.output()
        then(what)

    with two_nodes(cpus=3) as nodes, Job(nodes, run, corpus_uri, elastic, log=log) as job, Watch(run) as watch:
        wait_for(lambda: watch.most_steps() >= 5, "five steps are done by two workers")
        leaving = nodes.nodes.pop()
        announce(nodes, leaving)
        wait_for(lambda: checkpoints(run.uri), "a checkpoint stands since the notice")
        saved = checkpoints(run.uri)[0].steps_done
        wait_for(lambda: watch.most_steps() > saved + 1, "training has gone on")
        leaving.cut_off()
        then("the machine is gone")
        wait_for(lambda: told(watch, f"1 workers go on from step {saved}"), "one worker goes on from that checkpoint")
        nodes.add_node(cpus=3)
        then("a machine has come")
        wait_for(lambda: told(watch, "2 workers go on"), "two workers go on")
        wait_until(lambda: job.exit_code is not None, limit_s=STEP_LIMIT_S, what="the end of the run")
        then("the run is at its end")
        assert job.exit_code == 0, job.output()
    recipe = run.recipe()
    ((alone, _),) = run_in_processes(train_inline, 1, recipe, str(folder / "alone"), folder=folder / "out")
    assert losses(run.metrics()) == pytest.approx(losses(alone), rel=1e-5)
    assert [line["recordings"] for line in run.metrics()] == planned_recordings(recipe)
    return story


def announce(nodes: Cluster, leaving: Node) -> None:
    """As a cloud does for a machine that it takes back."""
    subprocess.run(
        [
            *(RAY, "drain-node", "--address", nodes.address, "--node-id", leaving.node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot notice"),
            *("--deadline-remaining-seconds", str(NOTICE_S)),
        ],
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def told(watch: Watch, text: str) -> bool:
    return any(text in event["event"] for _, event in watch.events)

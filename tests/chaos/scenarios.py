"""Defines an undisturbed run, disturbed runs, and what must hold for them."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from mulan.training.batch_source import consumed_checksum
from tests.chaos.growth import Growth, Samples
from tests.chaos.job import Job, Watch
from tests.chaos.strikes import STEP_LIMIT_S, Cost, Strike, run_under
from tests.nodes import ENVIRONMENT, RAY, Cluster, Node, cluster
from tests.training.same import differing
from tests.waiting import wait_until

NODE_CPUS = 3
"""Number of CPUs of a node: enough for a training worker and a data worker."""

NOTICE_S = 30

FREQUENT_UPDATES = {"NODE_STATS_UPDATE_INTERVAL_SECONDS": "1", "RAY_DASHBOARD_STATS_UPDATING_INTERVAL": "1"}
"""Environment of a head whose dashboard updates figures every second instead of every half minute."""


@dataclass(frozen=True)
class Size:
    """The size of a run."""

    steps: int
    pairs_per_micro_batch: int
    window_s: int
    """Length of a window; longer windows keep data workers busy for longer."""

    def settings(self, *, checkpoint_every_steps: int = 5) -> list[str]:
        return [
            f"train.steps={self.steps}",
            f"train.checkpoint_every_steps={checkpoint_every_steps}",
            f"data.window_s={self.window_s}",
            f"batch.pairs_per_micro_batch={self.pairs_per_micro_batch}",
            "train.validate_every_steps=0",
            "train.validation_micro_batches=0",
            "scale.cpus_per_worker=2",
            "scale.collective_timeout_s=60",
        ]


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    with cluster(environment=ENVIRONMENT | FREQUENT_UPDATES) as started:
        for _ in range(2):
            started.add_node(cpus=NODE_CPUS)
        yield started


def undisturbed(nodes: Cluster, corpus_uri: str, run: Run, size: Size) -> list[Growth]:
    """Runs a job to its end, and returns the growth of its resources."""
    log = Path(run.storage_uri, f"{run.name}.log")
    with (
        Job(nodes, run, corpus_uri, size.settings(), log=log) as job,
        Watch(run) as watch,
        Samples(job, watch) as samples,
    ):
        wait_until(lambda: job.exit_code is not None, limit_s=STEP_LIMIT_S + 5 * size.steps, what="the end of the run")
        assert job.exit_code == 0, job.output()
        return samples.growth()


def disturbed(
    nodes: Cluster, corpus_uri: str, run: Run, size: Size, strikes: Sequence[Strike], *, seed: int
) -> Iterator[Cost]:
    """Runs a job with strikes to its end, and yields the cost of each strike once it is known."""
    log = Path(run.storage_uri, f"{run.name}.log")
    with Job(nodes, run, corpus_uri, size.settings(), log=log) as job, Watch(run) as watch:
        yield from run_under(strikes, job, watch, node_cpus=NODE_CPUS, seed=seed)


def assert_nothing_lost(run: Run, twin: Run) -> None:
    """Asserts that each step consumed its planned recordings, and that losses and the last checkpoint equal bit for bit
    those of the twin."""
    lines, undisturbed_lines = run.metrics(), twin.metrics()
    assert [line["step"] for line in lines] == list(range(1, len(undisturbed_lines) + 1))
    assert [line["recordings_checksum"] for line in lines] == planned_recordings(run.recipe())
    assert losses(lines) == losses(undisturbed_lines)
    last, undisturbed_last = (read_newest(one.uri, on_corrupt=pytest.fail) for one in (run, twin))
    assert last is not None and undisturbed_last is not None
    assert last.progress == undisturbed_last.progress
    # not by their files, whose number is that of the workers
    assert differing(dict(last.state), dict(undisturbed_last.state)) == []


def losses(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def planned_recordings(recipe: Recipe) -> list[str]:
    """Returns the checksum of the planned recordings of each step, for a corpus without skipped recordings."""
    reader = MicroBatchReader.from_recipe(recipe)
    checksums = []
    for step in range(recipe.train.steps):
        checksum = 0
        for micro_batch in range(recipe.batch.micro_batches):
            rows = [example.row for example in reader.plans[Phase.TRAIN].micro_batch(step, micro_batch)]
            checksum ^= consumed_checksum(micro_batch, tuple(reader.corpus.recording_ids(rows)))
        checksums.append(f"{checksum:016x}")
    return checksums


def node_preempted_and_added(nodes: Cluster, corpus_uri: str, run: Run, size: Size) -> Iterator[tuple[str, float]]:
    """Preempts one of two nodes with a notice, so that one worker continues, and adds a node, so that two continue.

    Yields:
        A description of each event, and its time in seconds after the start.
    """
    interval = 2 * size.steps // 3  # notices and new nodes are detected only after many steps
    elastic = [*size.settings(checkpoint_every_steps=interval), "scale.workers=[1, 2]"]
    log = Path(run.storage_uri, f"{run.name}.log")
    begun = time.time()
    with Job(nodes, run, corpus_uri, elastic, log=log) as job, Watch(run) as watch:

        def wait_for(condition: Callable[[], object], what: str) -> tuple[str, float]:
            wait_until(lambda: job.exit_code is not None or bool(condition()), limit_s=STEP_LIMIT_S, what=what)
            assert job.exit_code is None, job.output()
            return what, time.time() - begun

        yield wait_for(
            lambda: watch.max_steps() >= 2, "two workers have trained 2 steps; one node is about to be preempted"
        )
        leaving = nodes.nodes.pop()
        announce(nodes, leaving)
        wait_for(lambda: checkpoints(run.uri), "a checkpoint after the notice")
        saved = checkpoints(run.uri)[0].steps_done
        assert saved < interval  # none was due yet
        yield f"a checkpoint of step {saved} was written", time.time() - begun
        yield wait_for(lambda: watch.max_steps() > saved + 1, "training continued; the node is lost")
        leaving.cut_off()
        yield wait_for(
            lambda: has_event(watch, f"1 workers continue from step {saved}"), f"one worker continues from step {saved}"
        )
        nodes.add_node(cpus=NODE_CPUS)
        added = time.time()
        yield "a node was added", added - begun
        _, seconds = wait_for(lambda: has_event(watch, "2 workers continue", since=added), "two workers continue")
        step = checkpoints(run.uri)[0].steps_done
        yield f"two workers continue from step {step}; repeated steps: {watch.max_steps() - step}", seconds
        wait_until(lambda: job.exit_code is not None, limit_s=STEP_LIMIT_S, what="the end of the run")
        assert job.exit_code == 0, job.output()
        yield "the run has ended", time.time() - begun


def announce(nodes: Cluster, leaving: Node) -> None:
    """Announces the preemption of a node, like a cloud."""
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


def has_event(watch: Watch, text: str, *, since: float = 0.0) -> bool:
    return any(text in event["event"] for when, event in watch.events if when > since)

"""Defines an undisturbed run, disturbed runs, and what must hold for them."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from mulan.training.batch_source import consumed_checksum
from tests.chaos.growth import Growth, Samples
from tests.chaos.job import Job, Watch
from tests.chaos.strikes import STEP_LIMIT_S, Cost, Strike, run_under
from tests.nodes import ENVIRONMENT, RAY, Cluster, Node, cluster
from tests.waiting import wait_until

NODE_CPUS = 3
"""Of a machine: room for a training worker and a data worker."""

NOTICE_S = 30

FRESH_FIGURES = {"NODE_STATS_UPDATE_INTERVAL_SECONDS": "1", "RAY_DASHBOARD_STATS_UPDATING_INTERVAL": "1"}
"""For a head whose dashboard tells what nodes hold now, and not half a minute ago, as long as a short run takes."""


@dataclass(frozen=True)
class Size:
    """Of a run."""

    steps: int
    pairs_per_micro_batch: int
    window_s: int
    """The longer, the more waveform: data workers must not have made it all in a moment."""

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
    with cluster(environment=ENVIRONMENT | FRESH_FIGURES) as started:
        for _ in range(2):
            started.add_node(cpus=NODE_CPUS)
        yield started


def undisturbed(nodes: Cluster, corpus_uri: str, run: Run, size: Size) -> list[Growth]:
    """A run to its end, and how what it holds has grown."""
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
    """A run to its end through the strikes; what each of them costs, once that is known."""
    log = Path(run.storage_uri, f"{run.name}.log")
    with Job(nodes, run, corpus_uri, size.settings(), log=log) as job, Watch(run) as watch:
        yield from run_under(strikes, job, watch, node_cpus=NODE_CPUS, seed=seed)


def assert_nothing_lost(run: Run, twin: Run) -> None:
    """Each step consumed what the plan has for it; losses and the last checkpoint are the twin's, bit for bit."""
    lines, undisturbed_lines = run.metrics(), twin.metrics()
    assert [line["step"] for line in lines] == list(range(1, len(undisturbed_lines) + 1))
    assert [line["recordings_checksum"] for line in lines] == planned_recordings(run.recipe())
    assert losses(lines) == losses(undisturbed_lines)
    assert checkpoints(run.uri)[0].files == checkpoints(twin.uri)[0].files  # by their SHA-256


def losses(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def planned_recordings(recipe: Recipe) -> list[str]:
    """For each step the checksum of the recordings that the plan has in its places, where none must be skipped."""
    reader = MicroBatchReader.from_recipe(recipe)
    checksums = []
    for step in range(recipe.train.steps):
        checksum = 0
        for micro_batch in range(recipe.batch.micro_batches):
            rows = [example.row for example in reader.plans[Phase.TRAIN].micro_batch(step, micro_batch)]
            checksum ^= consumed_checksum(micro_batch, tuple(reader.corpus.recording_ids(rows)))
        checksums.append(f"{checksum:016x}")
    return checksums


def machine_taken_and_given_back(nodes: Cluster, corpus_uri: str, run: Run, size: Size) -> Iterator[tuple[str, float]]:
    """Two workers; a machine is announced to go, and goes; one worker continues; a machine comes, and there are two.

    Yields:
        What happened, and how many seconds after the start.
    """
    seldom = 2 * size.steps // 3  # a notice is found, and a machine that has come is seen, within many seconds' steps
    elastic = [*size.settings(checkpoint_every_steps=seldom), "scale.workers=[1, 2]"]
    log = Path(run.storage_uri, f"{run.name}.log")
    begun = time.time()
    with Job(nodes, run, corpus_uri, elastic, log=log) as job, Watch(run) as watch:

        def wait_for(true: Callable[[], object], what: str) -> tuple[str, float]:
            wait_until(lambda: job.exit_code is not None or bool(true()), limit_s=STEP_LIMIT_S, what=what)
            assert job.exit_code is None, job.output()
            return what, time.time() - begun

        yield wait_for(lambda: watch.max_steps() >= 2, "two workers have done 2 steps; a machine is announced to go")
        leaving = nodes.nodes.pop()
        announce(nodes, leaving)
        wait_for(lambda: checkpoints(run.uri), "a checkpoint stands since the notice")
        saved = checkpoints(run.uri)[0].steps_done
        assert saved < seldom  # none was due yet
        yield f"a checkpoint of step {saved} stands", time.time() - begun
        yield wait_for(lambda: watch.max_steps() > saved + 1, "training has gone on; the machine goes")
        leaving.cut_off()
        yield wait_for(
            lambda: told(watch, f"1 workers continue from step {saved}"), f"one worker continues from step {saved}"
        )
        nodes.add_node(cpus=NODE_CPUS)
        come = time.time()
        yield "a machine has come", come - begun
        _, seconds = wait_for(lambda: told(watch, "2 workers continue", since=come), "two workers continue")
        step = checkpoints(run.uri)[0].steps_done
        yield f"two workers continue from step {step}; steps to be done again: {watch.max_steps() - step}", seconds
        wait_until(lambda: job.exit_code is not None, limit_s=STEP_LIMIT_S, what="the end of the run")
        assert job.exit_code == 0, job.output()
        yield "the run is at its end", time.time() - begun


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


def told(watch: Watch, text: str, *, since: float = 0.0) -> bool:
    return any(text in event["event"] for when, event in watch.events if when > since)

"""Tests jobs that are submitted to a cluster of a head only, whose autoscaler starts and removes the nodes.

The GPUs are fake, so training runs on the CPUs of the nodes that have them: nodes of the CPU pool are too small for a
worker, and only they read data.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulan.runs.run import Run
from tests.autoscaling import Autoscaled, NodeType, autoscaled
from tests.chaos.job import Watch
from tests.nodes import ENVIRONMENT, RAY
from tests.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long(group="jobs"), pytest.mark.timeout(900)]

LIMIT_S, POLL_S = 240, 0.5
END_LIMIT_S = 500
"""The time limit of a job, on a machine that is also used otherwise."""
NODES_LIMIT_S = 300
"""The time limit for the removal of nodes; requests of Ray Data to the autoscaler expire after three minutes."""
STEPS = 150
"""More steps than one worker trains in the minute until Ray notices the resources for another one."""
CPU_NODE, GPU_NODE = (
    NodeType({"CPU": 1}, {"pool": "cpu"}, max_nodes=1),
    NodeType({"CPU": 2, "GPU": 1}, {"pool": "gpu"}, max_nodes=1),
)
SETTINGS = [
    "scale.cpus_per_worker=2",
    "batch.micro_batches=2",
    "batch.pairs_per_micro_batch=16",
    "data.window_s=10",
    "train.validate_every_steps=0",
    "train.validation_micro_batches=0",
]


@pytest.fixture
def nodes() -> Iterator[Autoscaled]:
    with autoscaled({"cpu": CPU_NODE, "gpu": GPU_NODE}) as started:
        yield started


class Submitted:
    """A submitted training job, and the watch of its run."""

    def __init__(self, process: subprocess.Popen, log: Path, watch: Watch) -> None:
        self._process, self._log, self.watch = process, log, watch

    def output(self) -> str:
        return self._log.read_text()

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Waits until a condition is true, while the job runs."""
        wait_until(
            lambda: bool(condition()) or self._process.poll() is not None, limit_s=LIMIT_S, period_s=POLL_S, what=what
        )
        assert self._process.poll() is None, self.output()

    def wait_for_event(self, text: str) -> None:
        self.wait_until(lambda: any(text in event["event"] for _, event in self.watch.events), text)

    def wait_for_end(self) -> None:
        wait_until(
            lambda: self._process.poll() is not None, limit_s=END_LIMIT_S, period_s=POLL_S, what="the end of the job"
        )
        assert self._process.returncode == 0, self.output()


@contextmanager
def submitted(nodes: Autoscaled, corpus_uri: str, run: Run, *settings: str) -> Iterator[Submitted]:
    log = Path(run.storage_uri, f"{run.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["python", "-m", "jobs.train", "--recipe", "demo_miniature", "--data", corpus_uri]
    named = ["--storage", run.storage_uri, "--name", run.name]
    given = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    with log.open("wb") as written, Watch(run) as watch:
        process = subprocess.Popen(
            [RAY, "job", "submit", "--address", nodes.dashboard, "--", *command, *named, *given],
            env=ENVIRONMENT,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Submitted(process, log, watch)
        finally:
            process.kill()
            process.wait()


def test_nodes_are_started_for_a_job_and_removed_after_it(nodes: Autoscaled, tiny_corpus: str, run_folder: str) -> None:
    run = Run(run_folder, "elastic")
    settings = ["scale.workers=[1,2]", "scale.data_cpus=1", f"train.steps={STEPS}", "train.checkpoint_every_steps=10"]
    assert not nodes.alive()
    with submitted(nodes, tiny_corpus, run, *settings) as job:
        job.wait_for_event("1 workers continue from step 0")
        nodes.limit("gpu", 2)
        job.wait_until(lambda: nodes.alive() == {"cpu": 1, "gpu": 2}, "a node for reading, and a second one with a GPU")
        job.wait_for_event("2 workers continue")
        job.wait_for_end()
    assert [line["step"] for line in run.metrics()] == [*range(1, STEPS + 1)]
    wait_until(lambda: not nodes.alive(), limit_s=NODES_LIMIT_S, period_s=POLL_S, what="the end of the nodes")


def test_a_job_with_a_too_small_cpu_pool_warns_and_trains(nodes: Autoscaled, tiny_corpus: str, run_folder: str) -> None:
    run = Run(run_folder, "capped")
    nodes.limit("cpu", 2)
    with submitted(nodes, tiny_corpus, run, "scale.workers=1", "scale.data_cpus=3", "train.steps=20") as job:
        job.wait_until(lambda: {*nodes.alive()} == {"cpu", "gpu"}, "nodes of both pools")
        job.wait_for_end()
    assert [line["step"] for line in run.metrics()] == [*range(1, 21)]
    assert (
        "3 CPUs are requested for reading data (scale.data_cpus), but there is never room for more than 2"
        in job.output()
    )

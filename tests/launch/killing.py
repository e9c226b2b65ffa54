"""Kills a training worker of a run of this process."""

import time

import psutil

from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from tests.chaos.job import KINDS
from tests.waiting import wait_until

KILLED_AFTER_STEPS = 8


def kill_a_worker_of(run: Run) -> float:
    """Kills a training worker after :data:`KILLED_AFTER_STEPS` steps and a checkpoint; returns the time of the kill."""

    def is_due() -> bool:
        return len(run.metrics()) >= KILLED_AFTER_STEPS and bool(checkpoints(run.uri))

    wait_until(
        is_due, limit_s=300, what=lambda: f"step {KILLED_AFTER_STEPS} and a checkpoint: {len(run.metrics())} steps"
    )
    descendants = psutil.Process().children(recursive=True)
    (victim, *_) = [process for process in descendants if KINDS["training worker"] in " ".join(process.cmdline())]
    victim.kill()
    return time.time()

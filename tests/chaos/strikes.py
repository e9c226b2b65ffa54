"""Strikes against a running job, and what each of them costs."""

import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.chaos.job import Job, Watch, kill, wait_until

STEP_LIMIT_S = 600
"""For one more step, whatever happens."""


@dataclass(frozen=True)
class Strike:
    """What is done to a job once it has done so many steps."""

    victim: str
    """``driver``, ``node``, ``stopped worker`` (SIGSTOP: it is there and does not answer), or one of
    :data:`tests.chaos.job.KINDS`."""
    after_step: int
    during_checkpoint: bool = False
    """Wait until the next checkpoint is being written, and strike the process that writes it."""


@dataclass(frozen=True)
class Cost:
    """Seconds from a strike to the next step that had not been done, and what they were spent on."""

    strike: Strike
    at_step: int
    """The newest one done."""
    in_all_s: float
    noticed_s: float | None = None
    """Until new training processes were started; None where none had to be."""
    joined_s: float | None = None
    """Until these have imported their libraries, joined each other, and found the checkpoint."""
    first_step_s: float | None = None
    """Until they have built the model, restored it, and done a step."""
    again_s: float | None = None
    """Until the steps since the checkpoint were done again, and the next one."""


def planned_strikes(victims: Sequence[str], *, steps: int, seed: int) -> list[Strike]:
    """Random moments of a run, in order; those against training workers during a checkpoint."""
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(2, steps - 2), len(victims)))
    shuffled = rng.sample(list(victims), len(victims))
    return [
        Strike(victim, moment, during_checkpoint=victim == "training worker" and rng.random() < 0.5)
        for victim, moment in zip(shuffled, moments, strict=True)
    ]


def run_under(strikes: Sequence[Strike], job: Job, watch: Watch, *, node_cpus: int, seed: int) -> list[Cost]:
    """Strikes a job, starts it anew by the same command where it ended, and sees it to its end."""
    rng = random.Random(seed)
    costs = []
    for strike in strikes:
        _wait_for_step(job, watch, strike.after_step)
        costs.append(_strike(strike, job, watch, rng, node_cpus=node_cpus))
    wait_until(lambda: _ended_well(job), limit_s=STEP_LIMIT_S, what="end of the run")
    return costs


def _wait_for_step(job: Job, watch: Watch, step: int) -> None:
    def done() -> bool:
        _ended_well(job)
        return watch.most_steps() >= step

    wait_until(done, limit_s=STEP_LIMIT_S, what=f"step {step}")


def _ended_well(job: Job) -> bool:
    if job.exit_code not in (None, 0):
        job.start()
    return job.exit_code == 0


def _strike(strike: Strike, job: Job, watch: Watch, rng: random.Random, *, node_cpus: int) -> Cost:
    if strike.during_checkpoint:
        victim = _writing_a_checkpoint(job)
    else:
        time.sleep(rng.random())  # anywhere within a step
        victim = (
            rng.choice(job.processes("training worker" if strike.victim == "stopped worker" else strike.victim))
            if strike.victim != "node"
            else None
        )
    before = {process.pid for process in job.processes("training worker")}
    at_step, struck = watch.most_steps(), time.time()
    if victim is None:
        node = rng.choice(job.cluster.nodes)
        job.cluster.nodes.remove(node)
        node.cut_off()
        job.cluster.add_node(cpus=node_cpus)
    elif strike.victim == "stopped worker":
        victim.send_signal(signal.SIGSTOP)
    else:
        kill(victim)
    return _cost(strike, job, watch, at_step=at_step, struck=struck, before=before)


def _writing_a_checkpoint(job: Job) -> psutil.Process:
    found: list[psutil.Process] = []

    def writing() -> bool:
        workers = job.processes("training worker")
        for _ in range(50):
            for worker in workers:
                with suppress(psutil.Error):
                    if any(file.path.endswith("state.safetensors") for file in worker.open_files()):
                        found.append(worker)
                        return True
        return False

    wait_until(writing, limit_s=STEP_LIMIT_S, what="a checkpoint", period_s=0)
    return found[0]


def _cost(strike: Strike, job: Job, watch: Watch, *, at_step: int, struck: float, before: set[int]) -> Cost:
    started: dict[int, float] = {}

    def one_step_further() -> bool:
        _ended_well(job)
        for process in job.processes("training worker"):
            if process.pid not in before | started.keys():
                with suppress(psutil.NoSuchProcess):
                    started[process.pid] = process.create_time()
        return watch.most_steps() > at_step

    wait_until(one_step_further, limit_s=STEP_LIMIT_S, what=f"a step after {strike}", period_s=0.2)
    end = min(when for when, step in watch.steps if step > at_step and when > struck)
    joined = [when for when, event in watch.events if when > struck and "go on from step" in event["event"]]
    if not started or not joined:
        return Cost(strike, at_step, end - struck)
    first = min(when for when, _ in watch.steps if when > joined[-1])
    new = max(started.values())
    return Cost(
        strike,
        at_step,
        end - struck,
        noticed_s=new - struck,
        joined_s=joined[-1] - new,
        first_step_s=first - joined[-1],
        again_s=end - first,
    )

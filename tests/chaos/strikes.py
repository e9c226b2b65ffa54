"""Kills processes of a running job, and measures what each kill costs."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from mulan.storage.local import _PREFIX
from tests.chaos.job import Job, Watch
from tests.waiting import wait_until

STEP_LIMIT_S = 600
"""Time limit of a single step in seconds, including restarts."""


LAST_STEPS = 8
"""Number of last steps without strikes, so that the run has not ended when a process is killed."""


@dataclass(frozen=True)
class Strike:
    """A disturbance of a job."""

    victim: str
    """``driver``, ``node``, ``stopped worker`` (SIGSTOP: it is alive but does not answer), or one of
    :data:`tests.chaos.job.KINDS`."""
    after_step: int
    """Number of steps after which it happens."""
    during_checkpoint: bool = False
    """True to kill the process that writes the next checkpoint, while it writes."""


@dataclass(frozen=True)
class Cost:
    """Seconds from a strike to the first step that had not been trained before, in total and by phase."""

    strike: Strike
    at_step: int
    """The newest step at the time of the strike."""
    total_s: float
    detected_s: float | None = None
    """Time until new training processes were started; None if none was needed."""
    joined_s: float | None = None
    """Time until these had imported their libraries, found each other, and read the checkpoint."""
    first_step_s: float | None = None
    """Time until they had built and restored the model, and trained a step."""
    repeated_s: float | None = None
    """Time until the steps since the checkpoint were repeated, and the next one was trained."""


def planned_strikes(victims: Sequence[str], *, steps: int, seed: int) -> list[Strike]:
    """Returns one strike at a random step of each of equal parts of a run, in random order.

    Data workers come first: towards the end of a run they may have nothing left to do. Every second strike against a
    training worker is during a checkpoint.
    """
    rng = random.Random(seed)
    order = sorted(victims, key=lambda victim: (victim != "data worker", rng.random()))
    part = (steps - LAST_STEPS) / len(order)
    strikes, writing = [], False
    for number, victim in enumerate(order):
        writing = victim == "training worker" and not writing
        strikes.append(Strike(victim, round((number + rng.random()) * part), during_checkpoint=writing))
    return strikes


def run_under(strikes: Sequence[Strike], job: Job, watch: Watch, *, node_cpus: int, seed: int) -> Iterator[Cost]:
    """Disturbs a job, starts it again by the same command whenever it fails, and waits for its end."""
    rng = random.Random(seed)
    trained: set[psutil.Process] = set()
    for strike in strikes:
        _wait_for_step(strike.after_step, job, watch)
        trained.update(job.processes("training worker"))
        yield _strike(strike, job, watch, rng, node_cpus=node_cpus)
    wait_until(lambda: _succeeded(job), limit_s=STEP_LIMIT_S, what="end of the run")
    # a worker that was given up must not occupy its device
    wait_until(lambda: not any(process.is_running() for process in trained), limit_s=60, what="end of all processes")


def _wait_for_step(step: int, job: Job, watch: Watch) -> None:
    _wait_in_run(job, lambda: watch.max_steps() >= step, f"step {step}")


def _wait_in_run(job: Job, condition: Callable[[], bool], what: str, *, period_s: float = 0.02) -> None:
    def either() -> bool:
        return condition() or _succeeded(job)

    wait_until(either, limit_s=STEP_LIMIT_S, what=what, period_s=period_s)
    assert condition(), f"the run ended before {what}"


def _succeeded(job: Job) -> bool:
    if job.exit_code not in (None, 0):
        job.start()
    return job.exit_code == 0


def _strike(strike: Strike, job: Job, watch: Watch, rng: random.Random, *, node_cpus: int) -> Cost:
    time.sleep(rng.random())  # at any time within a step
    before = {process.pid for process in job.processes("training worker")}
    if strike.victim == "node":
        node = rng.choice(job.cluster.nodes)
        trains = not before.isdisjoint(process.pid for process in node.processes())
        struck_s = time.time()
        job.cluster.nodes.remove(node)
        node.cut_off()
        job.cluster.add_node(cpus=node_cpus)
    else:
        victim, trains = _victim(strike, job, rng), strike.victim != "data worker"
        struck_s = time.time()
        victim.send_signal(signal.SIGSTOP if strike.victim == "stopped worker" else signal.SIGKILL)
    return _cost_of_training(strike, job, watch, struck_s, before) if trains else _cost(strike, job, watch, struck_s)


def _victim(strike: Strike, job: Job, rng: random.Random) -> psutil.Process:
    if strike.during_checkpoint:
        return _writing_a_checkpoint(job)
    kind = "training worker" if strike.victim == "stopped worker" else strike.victim
    candidates: list[psutil.Process] = []

    def exists() -> bool:
        candidates[:] = candidates or job.processes(kind)
        return bool(candidates)

    _wait_in_run(job, exists, f"a {kind}", period_s=0.1)
    return rng.choice(candidates)


def _writing_a_checkpoint(job: Job) -> psutil.Process:
    """Returns the worker that writes a checkpoint, stopped so that it is still writing when it is killed."""
    writers: list[psutil.Process] = []

    def writing() -> bool:
        for worker in job.processes("training worker"):
            if _writes_a_checkpoint(worker):
                worker.suspend()
                if _writes_a_checkpoint(worker):
                    writers.append(worker)
                    break
                worker.resume()
        return bool(writers)

    _wait_in_run(job, writing, "a checkpoint")
    return writers[0]


def _writes_a_checkpoint(worker: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(Path(file.path).name.startswith(_PREFIX) for file in worker.open_files())
    return False


def _cost(strike: Strike, job: Job, watch: Watch, struck_s: float) -> Cost:
    """Returns the cost of a strike that restarts no training processes."""
    at_step = max((step for when, step in watch.steps if when <= struck_s), default=0)
    _wait_for_step(at_step + 1, job, watch)
    return Cost(strike, at_step, watch.first_time(at_step + 1) - struck_s)


def _cost_of_training(strike: Strike, job: Job, watch: Watch, struck_s: float, before: set[int]) -> Cost:
    started: dict[int, float] = {}

    def joined() -> bool:
        for process in job.processes("training worker"):
            if process.pid not in before | started.keys():
                with suppress(psutil.NoSuchProcess):
                    started[process.pid] = process.create_time()
        return watch.joined_s > struck_s

    _wait_in_run(job, joined, f"workers join after {strike}", period_s=0.2)
    at_step = watch.max_steps()  # a step may have ended since the strike
    _wait_for_step(at_step + 1, job, watch)
    new, joined_s, end = max(started.values()), watch.joined_s, watch.first_time(at_step + 1)
    first = min(when for when, _ in watch.steps if when > joined_s)
    return Cost(
        strike,
        at_step,
        total_s=end - struck_s,
        detected_s=new - struck_s,
        joined_s=joined_s - new,
        first_step_s=first - joined_s,
        repeated_s=end - first,
    )

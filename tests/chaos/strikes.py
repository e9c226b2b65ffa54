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
"""For one more step, whatever happens."""


AT_THE_END = 8
"""Steps that are left alone: a strike shall find the run still going."""


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
    """One at a random moment of each of equal parts of a run, in random order.

    Data workers come first: towards the end of a run there may be nothing left for them to do. Every second strike
    against training workers is during a checkpoint.
    """
    rng = random.Random(seed)
    order = sorted(victims, key=lambda victim: (victim != "data worker", rng.random()))
    part = (steps - AT_THE_END) / len(order)
    strikes, writing = [], False
    for number, victim in enumerate(order):
        writing = victim == "training worker" and not writing
        strikes.append(Strike(victim, round((number + rng.random()) * part), during_checkpoint=writing))
    return strikes


def run_under(strikes: Sequence[Strike], job: Job, watch: Watch, *, node_cpus: int, seed: int) -> Iterator[Cost]:
    """Strikes a job, starts it anew by the same command where it ended, and sees it to its end."""
    rng = random.Random(seed)
    trained: set[psutil.Process] = set()
    for strike in strikes:
        _wait_for_step(strike.after_step, job, watch)
        trained.update(job.processes("training worker"))
        yield _strike(strike, job, watch, rng, node_cpus=node_cpus)
    wait_until(lambda: _ended_well(job), limit_s=STEP_LIMIT_S, what="end of the run")
    # one that has been given up must not hold on to its device
    wait_until(lambda: not any(process.is_running() for process in trained), limit_s=60, what="end of all processes")


def _wait_for_step(step: int, job: Job, watch: Watch) -> None:
    _wait_in_run(job, lambda: watch.max_steps() >= step, f"step {step}")


def _wait_in_run(job: Job, true: Callable[[], bool], what: str, *, period_s: float = 0.02) -> None:
    def either() -> bool:
        return true() or _ended_well(job)

    wait_until(either, limit_s=STEP_LIMIT_S, what=what, period_s=period_s)
    assert true(), f"the run came to its end before {what}"


def _ended_well(job: Job) -> bool:
    if job.exit_code not in (None, 0):
        job.start()
    return job.exit_code == 0


def _strike(strike: Strike, job: Job, watch: Watch, rng: random.Random, *, node_cpus: int) -> Cost:
    time.sleep(rng.random())  # anywhere within a step
    before = {process.pid for process in job.processes("training worker")}
    if strike.victim == "node":
        node = rng.choice(job.cluster.nodes)
        trains = not before.isdisjoint(process.pid for process in node.processes())
        struck = time.time()
        job.cluster.nodes.remove(node)
        node.cut_off()
        job.cluster.add_node(cpus=node_cpus)
    else:
        victim, trains = _victim(strike, job, rng), strike.victim != "data worker"
        struck = time.time()
        victim.send_signal(signal.SIGSTOP if strike.victim == "stopped worker" else signal.SIGKILL)
    return _cost_of_training(strike, job, watch, struck, before) if trains else _cost(strike, job, watch, struck)


def _victim(strike: Strike, job: Job, rng: random.Random) -> psutil.Process:
    if strike.during_checkpoint:
        return _writing_a_checkpoint(job)
    kind = "training worker" if strike.victim == "stopped worker" else strike.victim
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = found or job.processes(kind)
        return bool(found)

    _wait_in_run(job, there, f"a {kind}", period_s=0.1)
    return rng.choice(found)


def _writing_a_checkpoint(job: Job) -> psutil.Process:
    """Stopped, so that it is still at it when it is struck."""
    found: list[psutil.Process] = []

    def writing() -> bool:
        for worker in job.processes("training worker"):
            if _writes_a_checkpoint(worker):
                worker.suspend()
                if _writes_a_checkpoint(worker):
                    found.append(worker)
                    break
                worker.resume()
        return bool(found)

    _wait_in_run(job, writing, "a checkpoint")
    return found[0]


def _writes_a_checkpoint(worker: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(Path(file.path).name.startswith(_PREFIX) for file in worker.open_files())
    return False


def _cost(strike: Strike, job: Job, watch: Watch, struck: float) -> Cost:
    """Where training processes need not be started again."""
    at_step = max((step for when, step in watch.steps if when <= struck), default=0)
    _wait_for_step(at_step + 1, job, watch)
    return Cost(strike, at_step, watch.first_time(at_step + 1) - struck)


def _cost_of_training(strike: Strike, job: Job, watch: Watch, struck: float, before: set[int]) -> Cost:
    started: dict[int, float] = {}

    def joined() -> bool:
        for process in job.processes("training worker"):
            if process.pid not in before | started.keys():
                with suppress(psutil.NoSuchProcess):
                    started[process.pid] = process.create_time()
        return watch.joined_s > struck

    _wait_in_run(job, joined, f"workers join after {strike}", period_s=0.2)
    at_step = watch.max_steps()  # one may have ended since the strike
    _wait_for_step(at_step + 1, job, watch)
    new, joined_s, end = max(started.values()), watch.joined_s, watch.first_time(at_step + 1)
    first = min(when for when, _ in watch.steps if when > joined_s)
    return Cost(
        strike,
        at_step,
        in_all_s=end - struck,
        noticed_s=new - struck,
        joined_s=joined_s - new,
        first_step_s=first - joined_s,
        again_s=end - first,
    )

"""Processes that read inputs; one that crashes or hangs is replaced, and its input is reported."""

import ctypes
import faulthandler
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import psutil

from tests.fuzz.attempts import Bounds, Finding, Tally, attempts
from tests.fuzz.targets import Target

MIB = 2**20
MAX_ADDRESSES_MIB = 4096
"""Maximum address space of a process for inputs, beyond which MemoryError is raised. Arrow alone reserves one GiB."""

MAX_DEATHS = 20
"""Maximum number of crashes and hangs of a target, after which it is given up."""

REPORT_S = 0.5

_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class _Worker:
    """A process and its remaining inputs."""

    target: Callable[[], Target]
    seed: int
    numbers: range
    bounds: Bounds
    notes: Path
    """File for its standard output and error."""
    connection: Connection = field(init=False)
    process: multiprocessing.process.BaseProcess = field(init=False)
    at: "Synchronized[int]" = field(init=False)
    """Number of its current input."""
    seen: tuple[int, float] = field(init=False)
    """The number at the last poll at which it had changed, and the time."""

    def __post_init__(self) -> None:
        self.connection, other = _SPAWN.Pipe(duplex=False)
        self.at = _SPAWN.Value("q", -1, lock=False)
        self.seen = (-1, time.monotonic())
        arguments = (self.target, self.seed, self.numbers, self.bounds, self.notes, self.at, other)
        self.process = _SPAWN.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        other.close()

    def stuck(self) -> bool:
        """Returns whether it has read one input for longer than the limits allow."""
        if self.at.value != self.seen[0]:
            self.seen = (self.at.value, time.monotonic())
        return self.at.value >= 0 and time.monotonic() - self.seen[1] > self.bounds.seconds + self.bounds.grace_s

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def run(
    target: Callable[[], Target], *, inputs: int, seed: int, jobs: int, bounds: Bounds, folder: Path
) -> Iterator[Tally]:
    """Reads inputs in several processes, and yields their tallies.

    Args:
        target: Importable function that returns the target, called in each process.
        jobs: Number of processes.
        folder: Folder for the output of the processes.
    """
    edges = [inputs * job // jobs for job in range(jobs + 1)]
    parts = [range(start, stop) for start, stop in pairwise(edges) if start < stop]
    notes = (folder / f"output-{number}.txt" for number in range(len(parts) + MAX_DEATHS))
    workers = [_Worker(target, seed, part, bounds, next(notes)) for part in parts]
    deaths = 0
    try:
        while workers:
            wait([worker.connection for worker in workers], timeout=REPORT_S)
            for worker in list(workers):
                ended = yield from _reports(worker)
                death = None if ended else _death(worker)
                if ended or death:
                    workers.remove(worker)
                    worker.end()
                if death:
                    deaths += 1
                    yield Tally(inputs=1, findings=[death])
                    remaining = range(death.number + 1, worker.numbers.stop)
                    if remaining and deaths < MAX_DEATHS:
                        workers.append(_Worker(target, seed, remaining, bounds, next(notes)))
    finally:
        for worker in workers:
            worker.end()


def _reports(worker: _Worker) -> Generator[Tally, None, bool]:
    """Yields the received tallies, and returns whether the worker has read all of its inputs."""
    try:
        while worker.connection.poll():
            number, done = worker.connection.recv()
            yield done
            if number == worker.numbers.stop:
                return True
    except EOFError:
        worker.process.join()
    return False


def _death(worker: _Worker) -> Finding | None:
    number = worker.at.value
    if worker.process.is_alive():
        return Finding(number, "hang", "killed: no signal stopped it") if worker.stuck() else None
    if number < 0:
        raise RuntimeError(f"a process ended before its first input:\n{worker.notes.read_text(errors='replace')}")
    code = worker.process.exitcode or 0
    lines = [line.strip() for line in worker.notes.read_text(errors="replace").splitlines()]
    if code >= 0:
        return Finding(number, "crash", f"exit code {code}, {lines[-1] if lines else 'no message'}")
    frames = [line for line in lines if line.startswith("File ")]
    return Finding(number, "crash", f"{signal.Signals(-code).name}, {frames[0] if frames else 'no Python frame'}")


def _work(
    target: Callable[[], Target],
    seed: int,
    numbers: range,
    bounds: Bounds,
    notes: Path,
    at: "Synchronized[int]",
    connection: Connection,
) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: killed with the process that started it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.open(notes, os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_WRONLY)
    os.dup2(output, 1)  # libsndfile prints errors of SDS files
    os.dup2(output, 2)
    faulthandler.enable()
    made = target()
    addresses = psutil.Process().memory_info().vms + MAX_ADDRESSES_MIB * MIB
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unsent, sent_at = Tally(), time.monotonic()
    for number, done in attempts(made, seed=seed, numbers=numbers, bounds=bounds):
        unsent.add(done)
        if number == numbers.stop or done.findings or time.monotonic() - sent_at > REPORT_S:
            connection.send((number, unsent))
            os.ftruncate(output, 0)  # libraries print a message for every input
            unsent, sent_at = Tally(), time.monotonic()
        at.value = number

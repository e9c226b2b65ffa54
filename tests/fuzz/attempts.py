"""Inputs read one after another, in this process; what is wrong with one of them, and what all of them leave behind."""

import ctypes
import gc
import random
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pyarrow as pa

from tests.fuzz.targets import Target

INPUTS_A_REPORT = 250
WARM_UP = 1000
"""Inputs after which everything has been used once; what is held from then on must not grow."""

MAX_MESSAGE = 8000
"""Of a refusal, in characters."""


@dataclass(frozen=True)
class Bounds:
    """What one input may cost, and what all together may leave behind."""

    seconds: float = 10.0
    grace_s: float = 5.0
    """For an input that is stuck where Python raises nothing, beyond the seconds that it has."""
    peak_mib: float = 256.0
    """Above what the process held before the input; the largest is 256 KiB."""
    growth_mib: float = 24.0
    """Of a process's memory, from the thousandth input to its last."""


@dataclass(frozen=True)
class Finding:
    """What is wrong."""

    number: int
    """Of the input."""
    kind: str
    """``exception``, ``hang``, ``crash``, ``memory`` or ``growth``."""
    what: str
    """The error and the line it came from; the same for inputs that meet the same fault."""


@dataclass
class Tally:
    """What became of some inputs."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_mib: float = 0.0
    grown_mib: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Takes another part's into account."""
        self.inputs += other.inputs
        self.refused += other.refused
        self.accepted += other.accepted
        self.seconds += other.seconds
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.peak_mib = max(self.peak_mib, other.peak_mib)
        self.grown_mib = max(self.grown_mib, other.grown_mib)
        self.findings += other.findings


class Hang(BaseException):
    """An input takes too long. No ``except Exception`` holds it up."""


def input_of(target: Target, *, seed: int, number: int) -> bytes:
    """One input of those that a seed stands for."""
    return target.make(random.Random(f"{seed} {number}"))


def attempts(target: Target, *, seed: int, numbers: range, bounds: Bounds) -> Iterator[tuple[int, Tally]]:
    """Reads inputs, and tells before each of them its number, with what has become of those since the last was told."""
    held_mib, done = None, Tally()
    for place, number in enumerate(numbers):
        if place % INPUTS_A_REPORT == 0 and place >= WARM_UP:
            held_mib = _settled_mib() if held_mib is None else held_mib
            done.grown_mib = _settled_mib() - held_mib
        yield number, done
        done = attempt(target, input_of(target, seed=seed, number=number), number, bounds)
    if held_mib is not None:
        done.grown_mib = _settled_mib() - held_mib
        if done.grown_mib > bounds.growth_mib:
            done.findings.append(Finding(numbers[-1], "growth", f"{done.grown_mib:.0f} MiB"))
    yield numbers.stop, done


def attempt(target: Target, content: bytes, number: int, bounds: Bounds) -> Tally:
    """What became of one input."""
    done = Tally(inputs=1)
    before_mib = _start_peak()
    started = time.perf_counter()
    try:
        with _alarm(bounds.seconds):
            target.read(content)
        done.accepted = 1
    except target.refusals as error:
        done.refused = 1
        fault = _fault_of_message(str(error))
        if fault:
            done.findings.append(Finding(number, "exception", f"{fault}, {_origin(error)}"))
    except Hang as error:
        done.findings.append(Finding(number, "hang", _origin(error)))
    except Exception as error:
        line = f"{type(error).__name__}: {str(error)[:100]!a}" if isinstance(error, AssertionError) else ""
        done.findings.append(Finding(number, "exception", f"{line or type(error).__name__}, {_origin(error)}"))
    done.seconds = done.slowest_s = time.perf_counter() - started
    done.peak_mib = max(0.0, _peak_mib() - before_mib)
    if done.peak_mib > bounds.peak_mib:
        done.findings.append(Finding(number, "memory", f"over {bounds.peak_mib:.0f} MiB"))
    return done


def _fault_of_message(message: str) -> str | None:
    if len(message) > MAX_MESSAGE:
        return f"a message of over {MAX_MESSAGE} characters"
    try:
        message.encode()
    except UnicodeEncodeError:
        return "a message that is not Unicode"
    return None


def _origin(error: BaseException) -> str:
    """The innermost lines of the package and of all."""
    frames = traceback.extract_tb(error.__traceback__)[: -1 if isinstance(error, Hang) else None]  # less the alarm's
    ours = [frame for frame in frames if "/mulan/" in frame.filename]
    lines = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in [*ours[-1:], frames[-1]])
    return " > ".join(dict.fromkeys(lines))


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    # again and again: a callback of a C library passes no exception on
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _start_peak() -> float:
    """MiB held; the kernel measures the peak anew from now on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mib()


def _peak_mib() -> float:
    return _status_mib("VmHWM")


def _settled_mib() -> float:
    """MiB held when all that is free has been given back."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return _status_mib("RssAnon")  # pages of files come and go with the machine's memory, whatever the inputs are


def _status_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split(maxsplit=1)[0]) / 1024

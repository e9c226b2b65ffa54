"""Reads inputs one after another in this process, and reports errors, hangs and memory of each, and leaks of all."""

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
"""Number of inputs after which everything has been used once; memory must not grow from then on."""

MAX_MESSAGE = 8000
"""Maximum length of an error message in characters."""


@dataclass(frozen=True)
class Bounds:
    """Limits on the time and memory of one input, and on the memory that all inputs leave allocated."""

    seconds: float = 10.0
    grace_s: float = 5.0
    """Additional time before a process is killed that is stuck in native code."""
    peak_mib: float = 256.0
    """Maximum peak memory of an input of at most 256 KiB, in addition to the memory before."""
    growth_mib: float = 24.0
    """Maximum growth of a process's memory from the thousandth input to its last."""


@dataclass(frozen=True)
class Finding:
    """A fault that an input reveals."""

    number: int
    """Number of the input."""
    kind: str
    """``exception``, ``hang``, ``crash``, ``memory`` or ``growth``."""
    what: str
    """The error and its source line; equal for inputs that reveal the same fault."""


@dataclass
class Tally:
    """Statistics and findings of a number of inputs."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_mib: float = 0.0
    grown_mib: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Adds the statistics and findings of other inputs."""
        self.inputs += other.inputs
        self.refused += other.refused
        self.accepted += other.accepted
        self.seconds += other.seconds
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.peak_mib = max(self.peak_mib, other.peak_mib)
        self.grown_mib = max(self.grown_mib, other.grown_mib)
        self.findings += other.findings


class Hang(BaseException):
    """An input takes too long; not caught by ``except Exception``."""


def input_of(target: Target, *, seed: int, number: int) -> bytes:
    """Returns an input, which depends only on the seed and the number."""
    return target.make(random.Random(f"{seed} {number}"))


def attempts(target: Target, *, seed: int, numbers: range, bounds: Bounds) -> Iterator[tuple[int, Tally]]:
    """Reads inputs, and before each of them yields its number and the tally of the previous one."""
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
    """Reads one input, and returns its tally."""
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
    """Returns the innermost source lines of the package and of all code."""
    frames = traceback.extract_tb(error.__traceback__)[
        : -1 if isinstance(error, Hang) else None
    ]  # without the frame of the alarm
    ours = [frame for frame in frames if "/mulan/" in frame.filename]
    lines = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in [*ours[-1:], frames[-1]])
    return " > ".join(dict.fromkeys(lines))


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    # periodically, since callbacks of C libraries do not propagate exceptions
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _start_peak() -> float:
    """Resets the kernel's peak, and returns the current memory in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mib()


def _peak_mib() -> float:
    return _status_mib("VmHWM")


def _settled_mib() -> float:
    """Returns the memory in MiB after all freed memory has been returned to the system."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return _status_mib("RssAnon")  # file pages depend on the memory of the machine, not on the inputs


def _status_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split(maxsplit=1)[0]) / 1024

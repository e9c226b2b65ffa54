"""Tests that planted faults are detected, and each target on a few inputs."""

import mmap
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mulan.data.errors import BadRecording
from tests.fuzz.attempts import WARM_UP, Bounds, Tally, attempts, input_of
from tests.fuzz.checksums import correct_ogg, correct_tar
from tests.fuzz.mutations import MAX_BYTES, mutated
from tests.fuzz.seeds import audio_files, records, tar
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.workers import run

TIGHT = Bounds(seconds=1.0, grace_s=1.0, peak_mib=16.0, growth_mib=16.0)


def planted(read: Callable[[int], object]) -> Target:
    """Returns a target whose inputs are numbers from 0 to 99."""
    return Target(lambda draw: b"%d" % draw.randrange(100), lambda content: read(int(content)), (BadRecording,))


def tally_of(target: Target, *, inputs: int = 300, bounds: Bounds = TIGHT) -> Tally:
    total = Tally()
    for _, done in attempts(target, seed=0, numbers=range(inputs), bounds=bounds):
        total.add(done)
    return total


def test_a_correct_function_has_no_findings() -> None:
    def read(number: int) -> None:
        if number % 2:
            raise BadRecording("odd")

    tally = tally_of(planted(read))
    assert tally.findings == [] and tally.inputs == 300
    assert tally.refused + tally.accepted == 300 and min(tally.refused, tally.accepted) > 100


def test_an_undocumented_error_is_detected_with_its_source_line() -> None:
    def read(number: int) -> None:
        if number == 7:
            raise KeyError(number)

    tally = tally_of(planted(read))
    whats = {(finding.kind, finding.what.partition(":")[0]) for finding in tally.findings}
    assert whats == {("exception", "KeyError, test_fuzz.py")}
    assert {input_of(planted(read), seed=0, number=finding.number) for finding in tally.findings} == {b"7"}


@pytest.mark.parametrize(("message", "what"), [("x" * 10_000, "over 8000 characters"), ("\udc80", "not Unicode")])
def test_an_unreadable_error_message_is_detected(message: str, what: str) -> None:
    def read(number: int) -> None:
        raise ValueError(message)

    tally = tally_of(replace(planted(read), refusals=(ValueError,)), inputs=1)
    assert what in tally.findings[0].what


def test_a_hang_is_detected_and_interrupted() -> None:
    def read(number: int) -> None:
        while number == 7:
            with_no_end()

    def with_no_end() -> None:
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("the interruption was caught")

    tally = tally_of(planted(read), bounds=replace(TIGHT, seconds=0.3))
    assert {finding.kind for finding in tally.findings} == {"hang"}
    assert "with_no_end" in tally.findings[0].what
    assert tally.inputs == 300 and tally.slowest_s < 5


def allocated(mib: float) -> mmap.mmap:
    """Allocates memory from the kernel: the allocator may hold freed memory of other tests."""
    memory = mmap.mmap(-1, round(mib * 2**20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1
    return memory


def test_excessive_memory_of_one_input_is_detected() -> None:
    tally = tally_of(planted(lambda number: allocated(32 if number == 7 else 0.125)))
    assert {finding.kind for finding in tally.findings} == {"memory"}
    assert 31 < tally.peak_mib < 40


def leaking() -> Target:
    """Returns a target that leaks memory at every input."""
    kept = []
    return planted(lambda number: kept.append(allocated(0.25)))


@pytest.mark.processes
def test_leaked_memory_is_detected(tmp_path: Path) -> None:
    """Runs in a separate process, like the command: in this one, allocators may return memory of earlier tests."""
    total = Tally()
    for part in run(leaking, inputs=WARM_UP + 500, seed=0, jobs=1, bounds=TIGHT, folder=tmp_path):
        total.add(part)
    assert [finding.kind for finding in total.findings] == ["growth"]
    assert total.grown_mib == pytest.approx(500 / 4, abs=4)


def crashing() -> Target:
    """Returns a target whose process crashes at one input, and hangs at another while it blocks signals."""

    def read(number: int) -> None:
        if number == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 70:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(60)

    return planted(read)


@pytest.mark.processes
def test_a_process_that_crashes_or_hangs_is_replaced(tmp_path: Path) -> None:
    total, inputs = Tally(), 200
    others = psutil.Process().children(recursive=True)  # such as those of Ray
    for part in run(crashing, inputs=inputs, seed=0, jobs=2, bounds=TIGHT, folder=tmp_path):
        total.add(part)
    read = [input_of(crashing(), seed=0, number=number) for number in range(inputs)]
    actual = sorted((finding.number, finding.kind) for finding in total.findings)
    kinds = {b"7": "crash", b"70": "hang"}
    assert actual == [(number, kinds[content]) for number, content in enumerate(read) if content in kinds]
    assert {kind for _, kind in actual} == {"crash", "hang"}
    assert any("SIGSEGV" in finding.what and "test_fuzz.py" in finding.what for finding in total.findings)
    remaining = [child for child in psutil.Process().children(recursive=True) if child not in others]
    assert not [child for child in remaining if "_work" in " ".join(child.cmdline())]


def test_inputs_depend_only_on_their_number() -> None:
    files = audio_files()
    assert files == audio_files()
    first, again = (mutated(random.Random("0 5"), files) for _ in range(2))
    assert first == again
    inputs = {mutated(random.Random(f"0 {number}"), files) for number in range(300)}
    assert len(inputs) > 280 and max(map(len, inputs)) <= MAX_BYTES


def test_checksums_are_corrected() -> None:
    valid = tar(records()[0])
    assert correct_tar(valid) == valid
    assert correct_tar(valid[:148] + b"654321\0 " + valid[156:]) == valid
    pages = next(content for content in audio_files() if content.startswith(b"OggS"))
    assert correct_ogg(pages[:22] + b"what" + pages[26:]) == pages


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_inputs_reveal_no_fault(name: str) -> None:
    tally = tally_of(TARGETS[name](), inputs=200, bounds=Bounds())
    assert tally.findings == []
    assert min(tally.refused, tally.accepted) > 3

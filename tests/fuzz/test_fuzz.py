"""That planted faults are found, and a few inputs of each target."""

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
from tests.fuzz.checksums import mend_ogg, mend_tar
from tests.fuzz.mutations import MAX_BYTES, mutated
from tests.fuzz.seeds import audio_files, records, tar
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.workers import run

TIGHT = Bounds(seconds=1.0, grace_s=1.0, peak_mib=16.0, growth_mib=16.0)


def planted(read: Callable[[int], object]) -> Target:
    """Its inputs are numbers from 0 to 99."""
    return Target(lambda draw: b"%d" % draw.randrange(100), lambda content: read(int(content)), (BadRecording,))


def tally_of(target: Target, *, inputs: int = 300, bounds: Bounds = TIGHT) -> Tally:
    total = Tally()
    for _, done in attempts(target, seed=0, numbers=range(inputs), bounds=bounds):
        total.add(done)
    return total


def test_a_sound_function_has_no_findings() -> None:
    def read(number: int) -> None:
        if number % 2:
            raise BadRecording("odd")

    tally = tally_of(planted(read))
    assert tally.findings == [] and tally.inputs == 300
    assert tally.refused + tally.accepted == 300 and min(tally.refused, tally.accepted) > 100


def test_an_error_that_is_not_documented_is_found_with_its_place() -> None:
    def read(number: int) -> None:
        if number == 7:
            raise KeyError(number)

    tally = tally_of(planted(read))
    whats = {(finding.kind, finding.what.partition(":")[0]) for finding in tally.findings}
    assert whats == {("exception", "KeyError, test_fuzz.py")}
    assert {input_of(planted(read), seed=0, number=finding.number) for finding in tally.findings} == {b"7"}


@pytest.mark.parametrize(("message", "what"), [("x" * 10_000, "over 8000 characters"), ("\udc80", "not Unicode")])
def test_a_refusal_that_nobody_can_read_is_found(message: str, what: str) -> None:
    def read(number: int) -> None:
        raise ValueError(message)

    tally = tally_of(replace(planted(read), refusals=(ValueError,)), inputs=1)
    assert what in tally.findings[0].what


def test_a_hang_is_found_and_left() -> None:
    def read(number: int) -> None:
        while number == 7:
            with_no_end()

    def with_no_end() -> None:
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("it was caught on its way")

    tally = tally_of(planted(read), bounds=replace(TIGHT, seconds=0.3))
    assert {finding.kind for finding in tally.findings} == {"hang"}
    assert "with_no_end" in tally.findings[0].what
    assert tally.inputs == 300 and tally.slowest_s < 5


def taken(mib: float) -> mmap.mmap:
    """Memory straight from the kernel: other tests of this process may have left some to the allocator."""
    memory = mmap.mmap(-1, round(mib * 2**20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1
    return memory


def test_memory_that_one_input_takes_is_found() -> None:
    tally = tally_of(planted(lambda number: taken(32 if number == 7 else 0.125)))
    assert {finding.kind for finding in tally.findings} == {"memory"}
    assert 31 < tally.peak_mib < 40


def hoarding() -> Target:
    """It keeps memory of every input."""
    kept = []
    return planted(lambda number: kept.append(taken(0.25)))


@pytest.mark.processes
def test_memory_that_is_kept_is_found(tmp_path: Path) -> None:
    """In a process of its own, as the command does it: allocators give back what earlier tests left in this one."""
    total = Tally()
    for part in run(hoarding, inputs=WARM_UP + 500, seed=0, jobs=1, bounds=TIGHT, folder=tmp_path):
        total.add(part)
    assert [finding.kind for finding in total.findings] == ["growth"]
    assert total.grown_mib == pytest.approx(500 / 4, abs=4)


def deadly() -> Target:
    """Its process dies of some inputs, and stands still at another, deaf to signals."""

    def read(number: int) -> None:
        if number == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 70:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(60)

    return planted(read)


@pytest.mark.processes
def test_a_process_that_dies_or_stands_still_is_replaced(tmp_path: Path) -> None:
    total, inputs = Tally(), 200
    others = psutil.Process().children(recursive=True)  # a Ray of other tests, say
    for part in run(deadly, inputs=inputs, seed=0, jobs=2, bounds=TIGHT, folder=tmp_path):
        total.add(part)
    read = [input_of(deadly(), seed=0, number=number) for number in range(inputs)]
    found = sorted((finding.number, finding.kind) for finding in total.findings)
    kinds = {b"7": "crash", b"70": "hang"}
    assert found == [(number, kinds[content]) for number, content in enumerate(read) if content in kinds]
    assert {kind for _, kind in found} == {"crash", "hang"}
    assert any("SIGSEGV" in finding.what and "test_fuzz.py" in finding.what for finding in total.findings)
    left = [child for child in psutil.Process().children(recursive=True) if child not in others]
    assert not [child for child in left if "_work" in " ".join(child.cmdline())]


def test_inputs_are_determined_by_their_number() -> None:
    files = audio_files()
    assert files == audio_files()
    first, again = (mutated(random.Random("0 5"), files) for _ in range(2))
    assert first == again
    inputs = {mutated(random.Random(f"0 {number}"), files) for number in range(300)}
    assert len(inputs) > 280 and max(map(len, inputs)) <= MAX_BYTES


def test_checksums_are_mended() -> None:
    valid = tar(records()[0])
    assert mend_tar(valid) == valid
    assert mend_tar(valid[:148] + b"654321\0 " + valid[156:]) == valid
    pages = next(content for content in audio_files() if content.startswith(b"OggS"))
    assert mend_ogg(pages[:22] + b"what" + pages[26:]) == pages


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_inputs_show_no_fault(name: str) -> None:
    tally = tally_of(TARGETS[name](), inputs=200, bounds=Bounds())
    assert tally.findings == []
    assert min(tally.refused, tally.accepted) > 3

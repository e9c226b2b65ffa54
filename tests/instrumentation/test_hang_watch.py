"""Tests the watch over hanging steps: in one process, and in two of which one keeps the other waiting."""

import ctypes
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.flight_recorder.components.loader import read_dir

from mulan.distributed.collectives import all_gather_objects
from mulan.instrumentation import hang_watch
from mulan.instrumentation.hang_watch import HangLimits, HangWatch
from tests.processes import run_in_processes
from tests.waiting import wait_until

SOON = HangLimits(at_least=0.3, at_most=0.5, settling=0.1, period=0.02)


def quick_steps(watch: HangWatch, count: int) -> None:
    for step in range(1, count + 1):
        watch.begin_step(step)
        watch.end_step(step)


def planted_wait(condition: Callable[[], object]) -> None:
    wait_until(condition, what="the report")


def test_a_step_that_hangs_is_reported_with_the_function_it_hangs_in(tmp_path: Path) -> None:
    events: list[str] = []
    watch = HangWatch(str(tmp_path), report=events.append, limits=SOON)
    try:
        quick_steps(watch, 5)
        watch.begin_step(6)
        planted_wait(lambda: events)
        watch.end_step(6)
        planted_wait(lambda: len(events) == 2)
    finally:
        watch.close()
    text = (tmp_path / "step_6" / "rank_0.txt").read_text()
    assert "planted_wait" in text and f"process {os.getpid()} on " in text and "MainThread" in text
    assert events[0].startswith("step 6 has taken ") and " times the median; stacks: " in events[0]
    assert events[0].endswith(f"stacks: {tmp_path}/step_6")
    assert events[1].startswith("step 6 ended after ")
    assert sorted(path.name for path in (tmp_path / "step_6").iterdir()) == ["flight_recorder_rank_0", "rank_0.txt"]


def test_the_first_steps_and_what_lies_between_steps_are_not_reported(tmp_path: Path) -> None:
    watch = HangWatch(str(tmp_path), report=pytest.fail, limits=HangLimits(at_least=0.3, at_most=60.0, period=0.02))
    try:
        watch.begin_step(1)  # longer than at_least, but no median is known
        time.sleep(0.5)
        watch.end_step(1)
        time.sleep(0.5)  # a checkpoint
    finally:
        watch.close()
    assert list(tmp_path.iterdir()) == []


def test_missing_workers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hang_watch, "rank_and_world_size", lambda: (0, 3))
    (tmp_path / "step_1").mkdir()
    (tmp_path / "step_1" / "rank_2.txt").write_text("stacks of another worker")
    events: list[str] = []
    watch = HangWatch(str(tmp_path), report=events.append, limits=SOON)
    try:
        watch.begin_step(1)
        planted_wait(lambda: events)
    finally:
        watch.close()
    assert "; none of rank 1: stopped" in events[0]


def test_stacks_are_written_while_something_holds_the_interpreters_lock(tmp_path: Path) -> None:
    watch = HangWatch(str(tmp_path), report=None, limits=SOON)
    (file,) = Path(tempfile.gettempdir()).glob(f"mulan_stacks_rank_0_of_{os.getpid()}_*.txt")
    try:
        watch.begin_step(1)
        # sleeps without releasing the lock, so that no thread of Python runs meanwhile
        ctypes.PyDLL(None).sleep(2)
        assert "test_stacks_are_written_while" in file.read_text()
        wait_until((tmp_path / "step_1" / "rank_0.txt").exists, what="the report")
    finally:
        watch.close()
    assert not file.exists()


def test_storage_that_fails_ends_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    events: list[str] = []
    watch = HangWatch(str(tmp_path / "file"), report=events.append, limits=SOON)
    try:
        watch.begin_step(1)
        planted_wait(lambda: events)
        watch.end_step(1)
    finally:
        watch.close()
    assert "its stacks cannot be written" in events[0]


def test_neither_a_removed_temporary_file_nor_an_unknown_record_ends_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines remove old files from their temporary folders, and the form of the record is PyTorch's own."""

    def unknown(record: bytes) -> list[str]:
        raise KeyError("entries")

    monkeypatch.setattr(hang_watch, "describe_collectives", unknown)
    watch = HangWatch(str(tmp_path), report=None, limits=SOON)
    (file,) = Path(tempfile.gettempdir()).glob(f"mulan_stacks_rank_0_of_{os.getpid()}_*.txt")
    file.unlink()
    for step in (1, 2):
        watch.begin_step(step)
        planted_wait((tmp_path / f"step_{step}" / "rank_0.txt").exists)
        watch.end_step(step)
        assert "planted_wait" in (tmp_path / f"step_{step}" / "rank_0.txt").read_text()
    watch.close()


def hang(folder: str) -> list[str]:
    """Trains on one of two workers, of which the second one keeps the first one waiting in the sixth step."""
    rank, events = dist.get_rank(), list[str]()
    limits = HangLimits(at_least=1.0, at_most=5.0, settling=0.5, period=0.02)
    watch = HangWatch(folder, report=events.append if rank == 0 else None, limits=limits)
    for step in range(1, 7):
        watch.begin_step(step)
        if step == 6 and rank == 1:
            planted_wait(lambda: reports_are_complete(folder))
        all_gather_objects(step)
        dist.all_reduce(torch.ones(3))
        watch.end_step(step)
    if rank == 0:
        planted_wait(lambda: any("ended after" in event for event in events))
    watch.close()
    return events


def reports_are_complete(folder: str) -> bool:
    """Returns whether both workers have completed their reports, which they write twice."""
    reports = [Path(folder, "step_6", f"rank_{rank}.txt") for rank in range(2)]
    return all(one.exists() and "newest collectives" in one.read_text() for one in reports)


@pytest.mark.processes  # one process cannot wait for another one in a collective
def test_all_workers_report_a_step_in_which_one_hangs(tmp_path: Path) -> None:
    events, others = run_in_processes(hang, 2, str(tmp_path / "hangs"), folder=tmp_path / "out")
    folder = tmp_path / "hangs" / "step_6"
    assert others == []
    assert any(event.startswith("step 6 has taken") and event.endswith(f"stacks: {folder}") for event in events)
    waiting, hanging = ((folder / f"rank_{rank}.txt").read_text() for rank in range(2))
    assert "planted_wait" in hanging and "all_gather_objects" not in hanging
    assert "all_gather_objects" in waiting and "planted_wait" not in waiting
    # the worker that waits has begun a collective more than the one that hangs
    assert "not completed" in waiting and "not completed" not in hanging
    details, _ = read_dir(Namespace(trace_dir=str(folder), prefix=None))  # torch's own reader
    recorded = {one["rank"]: one["entries"] for one in details.values()}
    assert len(recorded[0]) == len(recorded[1]) + 1

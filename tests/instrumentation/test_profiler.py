"""Tests the profiler: in one process, and in two of which one keeps the other waiting."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from mulan.distributed.collectives import all_gather_objects
from mulan.instrumentation import profiler as profiler_module
from mulan.instrumentation.profiler import StepProfiler
from mulan.instrumentation.settings import StepRange
from mulan.storage import filesystem
from tests.processes import run_in_processes
from tests.waiting import wait_until

CPU = torch.device("cpu")
Reports = list[tuple[str, str]]


def profiled_steps(folder: str | Path, reports: Reports, *, batch_s: float = 0.0, fails: bool = False) -> float:
    """Runs five steps of two products each, of which steps 3 and 4 are profiled.

    Returns:
        The seconds that these two took.
    """

    def batches() -> Iterator[torch.Tensor]:
        while True:
            time.sleep(batch_s)
            yield torch.ones(64, 64)

    profiler = StepProfiler(StepRange(3, 4), str(folder), CPU, report=lambda *texts: reports.append(texts))
    seconds, source = 0.0, profiler.annotated(batches())
    try:
        for step in range(1, 6):
            profiler.begin_step(step)
            begun = time.perf_counter()
            for _ in range(2):
                torch.mm(next(source), torch.ones(64, 64))
            if fails and step == 4:
                raise ValueError("training failed")
            seconds += (time.perf_counter() - begun) * (step in (3, 4))
            profiler.end_step(step)
            torch.mm(torch.ones(64, 64), torch.ones(64, 64))  # a validation
    finally:
        profiler.close()
    return seconds


def trace_of(folder: Path, rank: int = 0) -> list[dict[str, Any]]:
    with gzip.open(folder / f"rank_{rank}.json.gz") as file:
        return json.load(file)["traceEvents"]


def test_the_steps_are_in_the_trace_and_the_summary(tmp_path: Path) -> None:
    reports: Reports = []
    seconds = profiled_steps(tmp_path, reports, batch_s=0.05)
    names = [event["name"] for event in trace_of(tmp_path)]
    assert [name for name in names if name.startswith("ProfilerStep#")] == ["ProfilerStep#3", "ProfilerStep#4"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == [3, 4]
    mean = summary["mean_step"]
    assert mean["total"] >= seconds / 2
    assert mean["data"] >= 0.1  # two batches in each step
    assert sum(mean[part] for part in ("compute", "collectives", "data", "host")) == pytest.approx(mean["total"])
    assert mean["collectives"] == 0
    assert {one["name"]: one["calls"] for one in summary["operators"]}["aten::mm"] == 2
    ((line, table),) = reports
    assert line.startswith("profile of steps 3 to 4: ") and line.endswith(f"; traces: {tmp_path}")
    assert "aten::mm" in table and table in (tmp_path / "summary.txt").read_text()


def test_a_profile_is_written_to_any_storage(storage_uri: str) -> None:
    profiled_steps(storage_uri, [])
    assert sorted(filesystem.names_in(storage_uri)) == ["rank_0.json.gz", "summary.json", "summary.txt"]
    trace = json.loads(gzip.decompress(filesystem.read_bytes(f"{storage_uri}/rank_0.json.gz")))
    assert "aten::mm" in {event["name"] for event in trace["traceEvents"]}


def test_a_profile_that_training_leaves_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training failed"):
        profiled_steps(tmp_path, [], fails=True)
    assert list(tmp_path.iterdir()) == []
    assert not torch.autograd._profiler_enabled()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (KeyError("dur"), "KeyError: 'dur'"),
        (RuntimeError("two\nlines"), r"RuntimeError: two\nlines"),
    ],
)
def test_a_trace_that_cannot_be_exported_is_named_and_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def full(path: str) -> None:
        raise error

    monkeypatch.setattr(profiler_module, "read_trace", full)
    reports: Reports = []
    profiled_steps(tmp_path, reports)
    assert reports[0][0].startswith("profile of steps 3 to 4: no step was profiled")
    assert f"0       its trace cannot be read: {message}  " in reports[0][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summary.json", "summary.txt"]


def test_a_profiler_that_cannot_be_started_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: torch.profiler.profile) -> None:
        raise RuntimeError("another one is running")

    monkeypatch.setattr(torch.profiler.profile, "start", fail)
    reports: Reports = []
    profiled_steps(tmp_path, reports)
    assert reports[0][0].startswith("profile of steps 3 to 4: no step was profiled")
    assert "0       its profiler cannot be started: another one is running  " in reports[0][1]


def test_storage_that_fails_ends_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reports: Reports = []
    profiled_steps(tmp_path / "file", reports)
    assert reports[-1][0].startswith(f"the profile cannot be written to {tmp_path}/file: ")


def wait_for_a_worker(folder: str, begun: str) -> None:
    """Profiles two steps on one of two workers, of which the second one joins each collective 0.2 s later."""
    rank = dist.get_rank()
    profiler = StepProfiler(StepRange(1, 2), folder, CPU, report=None if rank else lambda *texts: None)

    def meet(number: int) -> None:
        file = Path(begun, str(number))
        if rank == 0:
            file.touch()
        else:
            wait_until(file.exists, what="the first worker")
            time.sleep(0.2)

    Path(begun).mkdir(exist_ok=True)
    for step in (1, 2):
        profiler.begin_step(step)
        torch.mm(torch.ones(64, 64), torch.ones(64, 64))
        meet(2 * step)
        dist.all_reduce(torch.ones(3))
        meet(2 * step + 1)
        all_gather_objects(step)
        profiler.end_step(step)
    profiler.close()


@pytest.mark.processes  # one process cannot wait for another one in a collective
def test_the_wait_for_another_worker_is_time_in_collectives(tmp_path: Path) -> None:
    run_in_processes(wait_for_a_worker, 2, str(tmp_path / "profile"), str(tmp_path / "begun"), folder=tmp_path / "out")
    waiting, late = json.loads((tmp_path / "profile" / "summary.json").read_text())["workers"]
    assert all(step["collectives"] > 0.3 for step in waiting["steps"])  # also in the one that gathers objects
    assert all(step["host"] >= 0.4 for step in late["steps"])
    for rank in range(2):
        assert any(event["name"] == "gloo:all_gather" for event in trace_of(tmp_path / "profile", rank))

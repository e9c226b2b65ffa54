"""Tests records on failing storage: training does not wait for them, and no line is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mulan.data.errors import SkippedRecording
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.checkpoint_writer import CheckpointFailed, CheckpointWriter
from mulan.runs.lease import Fence, RunTakenOver, hold_lease
from mulan.runs.recorder import Recorder, read_quarantine
from mulan.runs.run import Run
from mulan.storage import filesystem, retries
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import read_lines
from mulan.training.health import Anomaly
from mulan.training.state import Progress
from tests.checkpoints import slices_of
from tests.conftest import S3
from tests.s3_proxy import EXPIRED_TOKEN, INTERNAL_ERROR, Answer
from tests.waiting import wait_until

STATE = slices_of({"weights.a": torch.ones(2)})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)


@pytest.fixture
def run(s3: S3) -> Run:
    return Run(s3.uri, "first")


def record(recorder: Recorder, step: int) -> None:
    recorder.step({"step": step})
    recorder.skipped(step, [SkippedRecording(f"bad-{step}", "silent", "")])
    recorder.event(f"event {step}")


def writer(run: Run, fence: Fence | None = None) -> CheckpointWriter:
    return CheckpointWriter(run.uri, keep_latest=2, keep_best=0, fence=fence)


def save(recorder: Recorder, checkpoints: CheckpointWriter, step: int) -> None:
    """Saves a checkpoint after the records, like the first worker."""
    checkpoints.save(STATE, Progress(step), after=recorder.flush().result)


def recorded(run: Run) -> list[int]:
    return [line["step"] for line in run.metrics()]


def test_an_outage_delays_no_step_and_loses_no_line(run: Run, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "_PERIOD_S", -1.0)  # written after every step
    with Recorder(run, first_step=0) as recorder, writer(run) as checkpointing:
        s3.proxy.fail(INTERNAL_ERROR)
        for step in range(1, 6):
            record(recorder, step)  # the outage has no end, so that a step that waited would wait forever
        save(recorder, checkpointing, 5)
        assert recorder.storage_error() is None
        wait_until(lambda: len(s3.proxy.requests) > 20, what=lambda: f"20 requests; requests: {s3.proxy.requests}")
        s3.proxy.heal()
    assert recorded(run) == [1, 2, 3, 4, 5]
    assert [line["event"] for line in read_lines(run.events_uri)] == [f"event {step}" for step in range(1, 6)]
    assert [row["first_step"] for row in read_quarantine(run.quarantine_uri)] == [1, 2, 3, 4, 5]
    assert [one.steps_done for one in checkpoints(run.uri)] == [5]


def test_events_are_written_before_the_next_step(run: Run, s3: S3) -> None:
    with Recorder(run, first_step=0) as recorder:
        recorder.event("3 of 8 CPUs read")
        wait_until(lambda: read_lines(run.events_uri), what="the event is written")


@pytest.mark.parametrize(
    ("fault", "message"), [(INTERNAL_ERROR, "attempts in"), (EXPIRED_TOKEN, "renew the credentials")]
)
def test_failing_storage_is_an_error_and_the_run_resumes(
    fault: Answer, message: str, run: Run, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recorder(run, first_step=0) as recorder, writer(run) as checkpointing:
        record(recorder, 1)
        save(recorder, checkpointing, 1)
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.2)
    recorder, checkpointing = Recorder(run, first_step=1), writer(run)
    s3.proxy.fail(fault, "metrics.jsonl")
    record(recorder, 2)
    save(recorder, checkpointing, 2)
    wait_until(lambda: recorder.storage_error() is not None, what=lambda: f"a fault; requests: {s3.proxy.requests}")
    assert message in str(recorder.storage_error()) and run.metrics_uri in str(recorder.storage_error())
    num_requests = len(s3.proxy.requests)
    with pytest.raises(CheckpointFailed, match=f"step 2 .*{message}"), recorder, checkpointing:
        pass
    assert len(s3.proxy.requests) == num_requests  # what failed until the timeout is not retried at the end
    s3.proxy.heal()
    # there is no checkpoint whose lines are missing
    assert [one.steps_done for one in checkpoints(run.uri)] == [1]
    assert recorded(run) == [1]
    with Recorder(run, first_step=1) as recorder, writer(run) as checkpointing:
        record(recorder, 2)
        save(recorder, checkpointing, 2)
    assert recorded(run) == [1, 2]
    assert [one.steps_done for one in checkpoints(run.uri)] == [2, 1]


def test_an_error_at_the_end_is_raised_unless_the_run_failed(run: Run, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.1)
    recorder = Recorder(run, first_step=0)
    recorder.step({"step": 1})
    s3.proxy.fail(INTERNAL_ERROR)
    with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written"), recorder:
        pass
    s3.proxy.heal()
    recorder = Recorder(run, first_step=0)
    s3.proxy.fail(INTERNAL_ERROR)
    with pytest.raises(KeyError, match="what ended the run is not hidden"), recorder:
        raise KeyError("what ended the run is not hidden")


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_driver_that_lost_its_lease_stops_writing(
    kind: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "_LOCAL_PERIOD_S", -1.0)
    run = Run(s3.uri if kind == "s3" else str(tmp_path), "first")
    with (
        hold_lease(run.uri) as fence,
        Recorder(run, first_step=0, fence=fence) as recorder,
        writer(run, fence) as checkpointing,
    ):
        record(recorder, 1)
        save(recorder, checkpointing, 1)
    manifest = json.loads(filesystem.read_bytes(f"{run.uri}/checkpoint_000000001/manifest.json"))
    assert manifest["generation"] == 1
    recorder, checkpointing = Recorder(run, first_step=1, fence=fence), writer(run, fence)
    with hold_lease(run.uri) as second:
        before = {uri: filesystem.read_bytes(uri) for uri in (run.metrics_uri, run.events_uri, run.quarantine_uri)}
        record(recorder, 2)
        recorder.anomaly(Anomaly(2, "an anomaly", {}, []))
        save(recorder, checkpointing, 2)
        wait_until(lambda: recorder.storage_error() is not None, what="a fault")
        assert f"taken over by process {os.getpid()}" in str(recorder.storage_error())
        with pytest.raises(CheckpointFailed, match="taken over"), recorder, checkpointing:
            pass
        assert {uri: filesystem.read_bytes(uri) for uri in before} == before
        assert [one.steps_done for one in checkpoints(run.uri)] == [1]
        assert not filesystem.exists(run.anomaly_uri(2))
        with pytest.raises(RunTakenOver):  # nor does a restarted worker
            Recorder(run, first_step=0, fence=fence)
        assert filesystem.read_bytes(run.metrics_uri) == before[run.metrics_uri]
        with Recorder(run, first_step=1, fence=second) as recorder:
            record(recorder, 2)
    assert recorded(run) == [1, 2]


ON_A_FULL_DISK = """
import resource, sys
from mulan.storage.errors import StorageError
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run

recorder = Recorder(Run(sys.argv[1], "first"), first_step=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
for step in range(1, 9):
    recorder.step({"step": step})
print(recorder.storage_error())
try:
    with recorder:
        pass
except StorageError as error:
    print(error)
"""


@pytest.mark.processes
def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    message = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(message) == 2 and message[0] == message[1]
    assert "File too large" in message[0] and f"{tmp_path}/first" in message[0] and "same command" in message[0]
    run = Run(str(tmp_path), "first")
    lines = recorded(run)
    assert lines == list(range(1, len(lines) + 1)) and 0 < len(lines) < 8
    with Recorder(run, first_step=2) as recorder:
        record(recorder, 3)
    assert recorded(run) == [1, 2, 3]

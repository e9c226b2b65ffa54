"""Tests that checkpoints are written in the background, one at a time, and that a complete one always exists."""

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from mulan.distributed.collectives import background_group, rank_and_world_size
from mulan.runs import checkpoint_writer
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.checkpoint_writer import CheckpointFailed, CheckpointWriter
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem, retries
from mulan.storage.errors import StorageError
from mulan.training.state import Progress
from mulan.training.tensor_slices import share_of
from tests.checkpoints import slices_of
from tests.conftest import S3
from tests.processes import run_in_processes
from tests.s3_proxy import SLOW_DOWN, Cut

STATE = slices_of({"weights.a": torch.ones(2)})


@pytest.fixture
def run_uri(storage_uri: str) -> str:
    return f"{storage_uri}/run"


def steps(run_uri: str) -> list[int]:
    return [one.steps_done for one in checkpoints(run_uri)]


def test_the_latest_and_the_best_checkpoints_are_kept(run_uri: str) -> None:
    scores = {10: 0.5, 20: 0.9, 30: None, 40: 0.7, 50: 0.8, 60: None, 70: 0.1}
    with CheckpointWriter(run_uri, keep_latest=2, keep_best=2) as writer:
        for step, score in scores.items():
            writer.save(STATE, Progress(step), score=score)
    assert steps(run_uri) == [70, 60, 50, 20]


def test_incomplete_checkpoints_are_removed(run_uri: str) -> None:
    filesystem.write_atomically(f"{run_uri}/checkpoint_000000005/state-00000-of-00001.safetensors", b"cut off")
    filesystem.write_atomically(
        f"{run_uri}/checkpoint_000000099/state-00000-of-00001.safetensors", b"being written by another"
    )
    with CheckpointWriter(run_uri, keep_latest=1, keep_best=0) as writer:
        writer.save(STATE, Progress(10), score=None)
    assert sorted(filesystem.names_in(run_uri)) == ["checkpoint_000000010", "checkpoint_000000099"]


def test_training_continues_and_the_next_checkpoint_waits(run_uri: str) -> None:
    go, order = threading.Event(), []

    def slow(uri: str, part: PartCopy, progress: Progress, **named: Any) -> str:
        assert go.wait(timeout=30)
        order.append(progress.steps_done)
        return write_checkpoint(uri, part, progress, **named)

    with (
        patch.object(checkpoint_writer, "write_checkpoint", slow),
        CheckpointWriter(run_uri, keep_latest=1, keep_best=0) as writer,
    ):
        writer.save(STATE, Progress(1), score=None)
        assert not order and writer.written is None
        second = threading.Thread(target=writer.save, args=(STATE, Progress(2)), kwargs={"score": None})
        second.start()
        second.join(timeout=0.2)
        assert second.is_alive()
        go.set()
        second.join()
    assert order == [1, 2]
    assert steps(run_uri) == [2]
    assert writer.written is not None and writer.written.steps_done == 2
    assert 0 < writer.written.seconds < 60


def test_a_full_disk_is_reported_and_the_previous_checkpoint_kept(run_uri: str) -> None:
    with CheckpointWriter(run_uri, keep_latest=1, keep_best=0) as writer:
        writer.save(STATE, Progress(1), score=None)
        writer.wait()
        assert writer.error() is None
    full = OSError(28, "No space left on device")
    writer = CheckpointWriter(run_uri, keep_latest=1, keep_best=0)
    with patch.object(PartCopy, "write", side_effect=full):
        writer.save(STATE, Progress(2), score=None)
        with pytest.raises(
            CheckpointFailed, match=r"step 2 .*the one before it is kept: .*No space left.*free space there"
        ):
            writer.wait()
    assert "No space left" in (str(writer.error()))
    newest = read_newest(run_uri, on_corrupt=pytest.fail)
    assert newest is not None
    assert newest.progress.steps_done == 1


def test_an_outage_is_retried_or_reported_and_the_previous_checkpoint_kept(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystem, "S3_ATTEMPTS", 1)
    s3.proxy.fail(SLOW_DOWN, times=7)
    s3.proxy.fail(Cut.WITHIN, "PUT", times=7)
    with CheckpointWriter(s3.uri, keep_latest=1, keep_best=0) as writer:
        writer.save(STATE, Progress(1), score=None)
    assert steps(s3.uri) == [1]
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.2)
    s3.proxy.fail(SLOW_DOWN)
    writer = CheckpointWriter(s3.uri, keep_latest=1, keep_best=0)
    writer.save(STATE, Progress(2), score=None)
    writer.save(STATE, Progress(3), score=None)  # not written after a failure, which all workers must learn of first
    assert re.search(r"step 2 .* one before it is kept: .*attempts in", str(writer.error()))
    with pytest.raises(CheckpointFailed, match="step 2"):
        writer.wait()
    s3.proxy.heal()
    assert steps(s3.uri) == [1]
    with CheckpointWriter(s3.uri, keep_latest=1, keep_best=0) as writer:
        writer.save(STATE, Progress(2), score=None)
    assert steps(s3.uri) == [2]


WHOLE = {"weights.a": torch.arange(9.0), "exp_avg.a": torch.arange(9.0) / 7}
LATER = {name: tensor + 1 for name, tensor in WHOLE.items()}


def save_by_two(run_uri: str) -> list[tuple[str | None, int | None]]:
    """Saves five checkpoints, of which three fail on one worker; returns each error and the latest written step."""
    rank = rank_and_world_size()[0]
    outcomes = []
    write, write_atomically = PartCopy.write, filesystem.write_atomically

    def fail(*_: object) -> None:
        raise OSError(28, f"No space left on worker {rank}")

    def fail_after_part(part: PartCopy, path: Path) -> None:
        write(part, path)
        raise KeyError("a fault of worker 0")

    faults: list[tuple[int, Any, str, Any]] = [
        (1, PartCopy, "write", fail),
        (0, PartCopy, "write", fail_after_part),
        (0, filesystem, "write_atomically", fail),
    ]
    for step, fault in enumerate([None, *faults, None], start=1):
        writer = CheckpointWriter(run_uri, keep_latest=9, keep_best=0, group=background_group(60))
        if fault is not None and fault[0] == rank:
            setattr(*fault[1:])
        writer.save(share_of(slices_of(WHOLE if step < 5 else LATER), rank, 2), Progress(step))
        with suppress(StorageError, KeyError):
            writer.wait()
        PartCopy.write, filesystem.write_atomically = write, write_atomically  # type: ignore[method-assign]
        error = writer.error()
        outcomes.append((error and str(error), writer.written and writer.written.steps_done))
    return outcomes


@pytest.mark.processes
def test_a_checkpoint_is_complete_only_if_all_workers_have_written_their_parts(tmp_path: Path) -> None:
    """Needs two processes, since one alone writes a single part and learns of no other worker's failure."""
    run_uri = str(tmp_path / "run")
    outcomes = run_in_processes(save_by_two, 2, run_uri, folder=tmp_path / "out")
    for saved in outcomes:
        assert [written for _, written in saved] == [1, None, None, None, 5]
        assert saved[0][0] is None and saved[4][0] is None
        assert re.search("step 2 .*the one before it is kept: .*No space left on worker 1", saved[1][0] or "")
        assert re.search("step 4 .*the one before it is kept: .*No space left on worker 0", saved[3][0] or "")
    assert outcomes[0][2][0] is None and "a fault of worker 0" in (outcomes[1][2][0] or "")  # a fault of the program
    assert steps(run_uri) == [5, 1]
    newest = read_newest(run_uri, on_corrupt=pytest.fail)
    assert newest is not None and newest.state.keys() == LATER.keys()
    assert all(torch.equal(newest.state[name], tensor) for name, tensor in LATER.items())
    assert_that_a_damaged_part_makes_the_checkpoint_before_it_the_newest(run_uri)


def assert_that_a_damaged_part_makes_the_checkpoint_before_it_the_newest(run_uri: str) -> None:
    parts = sorted(Path(checkpoints(run_uri)[0].uri).glob("*.safetensors"))
    assert [part.name for part in parts] == ["state-00000-of-00002.safetensors", "state-00001-of-00002.safetensors"]
    for part, other in (parts, parts[::-1]):
        content = part.read_bytes()
        for damaged in (None, content[:-1], content[:-1] + bytes([content[-1] ^ 1]), other.read_bytes()):
            part.unlink(missing_ok=True)
            if damaged is not None:
                part.write_bytes(damaged)
            found = read_newest(run_uri, on_corrupt=lambda _: None)
            assert found is not None and found.progress.steps_done == 1
            assert all(torch.equal(found.state[name], tensor) for name, tensor in WHOLE.items())
        part.write_bytes(content)
    assert steps(run_uri) == [5, 1]

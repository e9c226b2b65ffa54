"""Tests that checkpoints are written in the background, one at a time, and that a complete one always exists."""

import re
import threading
from typing import Any
from unittest.mock import patch

import pytest
import torch

from mulan.runs import checkpoint_writer
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.checkpoint_writer import CheckpointFailed, CheckpointWriter
from mulan.storage import filesystem, retries
from mulan.training.state import Progress
from tests.conftest import S3
from tests.s3_proxy import SLOW_DOWN, Cut

STATE = {"weights.a": torch.ones(2)}


@pytest.fixture
def run_uri(storage_uri: str) -> str:
    return f"{storage_uri}/run"


def steps(run_uri: str) -> list[int]:
    return [one.steps_done for one in checkpoints(run_uri)]


def test_the_latest_and_the_best_checkpoints_are_kept(run_uri: str) -> None:
    scores = {10: 0.5, 20: 0.9, 30: None, 40: 0.7, 50: 0.8, 60: None, 70: 0.1}
    with CheckpointWriter(run_uri, keep_latest=2, keep_best=2) as writer:
        for step, score in scores.items():
            writer.write(STATE, Progress(step), score=score)
    assert steps(run_uri) == [70, 60, 50, 20]


def test_incomplete_checkpoints_are_removed(run_uri: str) -> None:
    filesystem.write_atomically(f"{run_uri}/checkpoint_000000005/state.safetensors", b"cut off")
    filesystem.write_atomically(f"{run_uri}/checkpoint_000000099/state.safetensors", b"being written by another")
    with CheckpointWriter(run_uri, keep_latest=1, keep_best=0) as writer:
        writer.write(STATE, Progress(10), score=None)
    assert sorted(filesystem.names_in(run_uri)) == ["checkpoint_000000010", "checkpoint_000000099"]


def test_training_continues_and_the_next_checkpoint_waits(run_uri: str) -> None:
    go, order = threading.Event(), []

    def slow(uri: str, state: dict[str, torch.Tensor], progress: Progress, **named: Any) -> str:
        assert go.wait(timeout=30)
        order.append(progress.steps_done)
        return write_checkpoint(uri, state, progress, **named)

    with (
        patch.object(checkpoint_writer, "write_checkpoint", slow),
        CheckpointWriter(run_uri, keep_latest=1, keep_best=0) as writer,
    ):
        writer.write(STATE, Progress(1), score=None)
        assert not order and writer.written is None
        second = threading.Thread(target=writer.write, args=(STATE, Progress(2)), kwargs={"score": None})
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
        writer.write(STATE, Progress(1), score=None)
        writer.wait()
        assert writer.error() is None
    full = OSError(28, "No space left on device")
    writer = CheckpointWriter(run_uri, keep_latest=1, keep_best=0)
    with patch("mulan.runs.checkpoint.save_file", side_effect=full):
        writer.write(STATE, Progress(2), score=None)
        with pytest.raises(
            CheckpointFailed, match=r"step 2 .*the one before it is kept: .*No space left.*free space there"
        ):
            writer.wait()
    assert "No space left" in (writer.error() or "")
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
        writer.write(STATE, Progress(1), score=None)
    assert steps(s3.uri) == [1]
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.2)
    s3.proxy.fail(SLOW_DOWN)
    writer = CheckpointWriter(s3.uri, keep_latest=1, keep_best=0)
    writer.write(STATE, Progress(2), score=None)
    writer.write(STATE, Progress(3), score=None)  # not written after a failure, which all workers must learn of first
    assert re.search(r"step 2 .* one before it is kept: .*attempts in", writer.error() or "")
    with pytest.raises(CheckpointFailed, match="step 2"):
        writer.wait()
    s3.proxy.heal()
    assert steps(s3.uri) == [1]
    with CheckpointWriter(s3.uri, keep_latest=1, keep_best=0) as writer:
        writer.write(STATE, Progress(2), score=None)
    assert steps(s3.uri) == [2]

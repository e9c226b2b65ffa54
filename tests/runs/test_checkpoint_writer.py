"""Tests that checkpoints are written in the background, one at a time, and that a complete one always exists."""

import gc
import logging
import re
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from mulan.runs import checkpoint_writer
from mulan.runs.checkpoint import EXCHANGE_TIMEOUT_S, read_newest, write_checkpoint
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.checkpoint_writer import CheckpointFailed, CheckpointWriter
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem, retries
from mulan.training.state import Progress
from mulan.training.tensor_slices import TensorSlice
from tests.checkpoints import slices_of
from tests.conftest import S3
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


def test_what_is_left_of_the_checkpoint_that_was_replaced_is_removed(run_uri: str) -> None:
    for _ in range(2):
        with CheckpointWriter(run_uri, keep_latest=2, keep_best=0) as writer:
            writer.save(STATE, Progress(3))
    (info,) = checkpoints(run_uri)
    assert sorted(filesystem.names_in(info.uri)) == sorted([*info.files, "manifest.json"])
    assert len(info.files) == 2


def test_the_next_checkpoint_does_not_wait_until_older_ones_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first worker removes them, and the others would wait for it in the next step."""
    go, remove = threading.Event(), checkpoint_writer.remove_checkpoint

    def remove_late(uri: str) -> None:
        assert go.wait(timeout=30)
        remove(uri)

    monkeypatch.setattr(checkpoint_writer, "remove_checkpoint", remove_late)
    with CheckpointWriter(str(tmp_path), keep_latest=1, keep_best=0) as writer:
        for step in (1, 2):
            writer.save(STATE, Progress(step))
            writer.wait()
        assert steps(str(tmp_path)) == [2, 1]
        writer.save(STATE, Progress(3))
        assert not go.is_set()
        go.set()
    assert steps(str(tmp_path)) == [3]


def test_an_unexpected_error_is_reported_and_its_traceback_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise KeyError("a fault of the program")

    writer = CheckpointWriter(str(tmp_path), keep_latest=1, keep_best=0)
    with caplog.at_level(logging.ERROR):
        writer.save(STATE, Progress(2), after=fail)
        with pytest.raises(CheckpointFailed, match=r"step 2 .* is kept: KeyError: 'a fault of the program'"):
            writer.wait()
    assert "a fault of the program" in str(writer.error())
    assert "in fail\n" in caplog.text and 'raise KeyError("a fault of the program")' in caplog.text


@pytest.mark.parametrize("fault", ["storage", "program"])
def test_a_failed_write_does_not_keep_the_copy(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[weakref.ref[torch.Tensor]] = []

    def copy(own: Iterable[TensorSlice]) -> PartCopy:
        part = PartCopy(own)
        copies.extend(weakref.ref(tensor) for tensor in part._entries.values())
        return part

    monkeypatch.setattr(checkpoint_writer, "PartCopy", copy)
    monkeypatch.setattr(retries, "RETRY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(retries, "MAX_PAUSE_S", 0.01)
    (tmp_path / "file").touch()
    uri = str(tmp_path / "file" / "run")  # no folder can be made there
    if fault == "program":
        monkeypatch.setattr(filesystem, "upload", lambda path, uri: {}[uri])
    gc.collect()
    gc.disable()  # what is not freed at once may stay for minutes
    try:
        with pytest.raises(CheckpointFailed), CheckpointWriter(uri, keep_latest=1, keep_best=0) as writer:
            writer.save(STATE, Progress(2))
        assert writer.error() is not None
        assert [one() for one in copies] == [None]
    finally:
        gc.enable()


def test_workers_wait_for_one_another_as_long_as_storage_may_take() -> None:
    """Every use of storage before an exchange may fail for that time, and then succeed."""
    assert EXCHANGE_TIMEOUT_S > 10 * retries.RETRY_TIMEOUT_S + 1e11 / 1e7

"""Tests that several workers write a checkpoint together, and that all learn of the failure of one."""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from mulan.distributed.collectives import rank_and_world_size
from mulan.runs import checkpoint_writer
from mulan.runs.checkpoint import ExchangeFailed, read_newest
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.checkpoint_writer import CheckpointWriter
from mulan.runs.state_parts import PartCopy
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.training.state import Progress
from mulan.training.tensor_slices import share_of
from tests.checkpoints import part_paths, slices_of
from tests.processes import run_in_processes

WHOLE = {"weights.a": torch.arange(9.0), "exp_avg.a": torch.arange(9.0) / 7}
LATER = {name: tensor + 1 for name, tensor in WHOLE.items()}


Outcomes = list[tuple[str | None, int | None]]


def save_by_two(run_uri: str) -> tuple[Outcomes, dict[str, str], bool]:
    """Calls what follows; the exchanges fail because of different steps and of slow storage."""
    outcomes = save_with_faults(run_uri)
    errors = {"steps": error_of_different_steps(run_uri), "storage": error_of_slow_storage(run_uri)}
    return outcomes, errors, is_pending_after_an_error(f"{run_uri}/after_an_error")


def save_with_faults(run_uri: str) -> Outcomes:
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
        writer = CheckpointWriter(run_uri, keep_latest=9, keep_best=0)
        if fault is not None and fault[0] == rank:
            setattr(*fault[1:])
        writer.save(share_of(slices_of(WHOLE if step < 5 else LATER), rank, 2), Progress(step))
        with suppress(StorageError):
            writer.wait()
        PartCopy.write, filesystem.write_atomically = write, write_atomically  # type: ignore[method-assign]
        error = writer.error()
        outcomes.append((error and str(error), writer.written and writer.written.steps_done))
    return outcomes


def error_of_different_steps(run_uri: str) -> str:
    writer, rank = CheckpointWriter(run_uri, keep_latest=9, keep_best=0), rank_and_world_size()[0]
    writer.save(share_of(slices_of(WHOLE), rank, 2), Progress(6 + rank))
    with pytest.raises(ExchangeFailed):
        writer.wait()
    return str(writer.error())


def error_of_slow_storage(run_uri: str) -> str:
    """The second worker writes until the first one has given up."""
    gave_up, rank = Path(run_uri, "gave_up"), rank_and_world_size()[0]
    with patch.object(checkpoint_writer, "EXCHANGE_TIMEOUT_S", 1.0):
        writer = CheckpointWriter(run_uri, keep_latest=9, keep_best=0)

    def write_slowly() -> None:
        while rank == 1 and not gave_up.exists():
            time.sleep(0.01)

    writer.save(share_of(slices_of(WHOLE), rank, 2), Progress(8), after=write_slowly)
    with pytest.raises(ExchangeFailed):
        writer.wait()
    gave_up.touch()
    return str(writer.error())


def is_pending_after_an_error(run_uri: str) -> bool:
    """The first worker ends with an error while the second one hangs; returns whether it has not waited for that."""
    ended, rank = Path(run_uri, "ended"), rank_and_world_size()[0]
    ended.parent.mkdir(exist_ok=True)

    def hang() -> None:
        while rank == 1 and not ended.exists():
            time.sleep(0.01)

    writer = CheckpointWriter(run_uri, keep_latest=9, keep_best=0)
    with (
        patch.object(checkpoint_writer, "_WAIT_AFTER_ERROR_S", 0.1 if rank == 0 else 60.0),
        suppress(KeyError),
        writer,
    ):
        writer.save(share_of(slices_of(WHOLE), rank, 2), Progress(9), after=hang)
        raise KeyError("what ended training")
    assert writer._writing is not None
    pending = not writer._writing.done()
    ended.touch()
    writer.wait()
    return pending


@pytest.mark.processes
def test_a_checkpoint_is_complete_only_if_all_workers_have_written_their_parts(tmp_path: Path) -> None:
    """Needs two processes, since one alone writes a single part and learns of no other worker's failure."""
    run_uri = str(tmp_path / "run")
    results = run_in_processes(save_by_two, 2, run_uri, folder=tmp_path / "out")
    outcomes = [outcome for outcome, _, _ in results]
    assert [pending for _, _, pending in results] == [True, False]
    for saved in outcomes:
        assert [written for _, written in saved] == [1, None, None, None, 5]
        assert saved[0][0] is None and saved[4][0] is None
        assert re.search("step 2 .*the one before it is kept: .*No space left on worker 1", saved[1][0] or "")
        assert re.search("step 4 .*the one before it is kept: .*No space left on worker 0", saved[3][0] or "")
        assert "KeyError: 'a fault of worker 0'" in (saved[2][0] or "")
    for _, errors, _ in results:
        assert "checkpoint_000000006 and" in errors["steps"]
        assert "checkpoint_000000008 may be incomplete" in errors["storage"]
        for error in errors.values():
            assert "run the same command again" in error
    assert "imed out" in results[0][1]["storage"]
    assert [one.steps_done for one in checkpoints(run_uri)] == [5, 1]
    newest = read_newest(run_uri, on_corrupt=pytest.fail)
    assert newest is not None and newest.state.keys() == LATER.keys()
    assert all(torch.equal(newest.state[name], tensor) for name, tensor in LATER.items())
    assert_that_a_damaged_part_makes_the_checkpoint_before_it_the_newest(run_uri)


def assert_that_a_damaged_part_makes_the_checkpoint_before_it_the_newest(run_uri: str) -> None:
    parts = part_paths(checkpoints(run_uri)[0].uri)
    assert [part.name[:23] for part in parts] == ["state-g0-00000-of-00002", "state-g0-00001-of-00002"]
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
    assert [one.steps_done for one in checkpoints(run_uri)] == [5, 1]

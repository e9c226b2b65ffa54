"""Tests collective reads of storage: one download for each machine, and one error for all workers."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mulan.launch.policies import TrainingFailed
from mulan.launch.ray_worker import raise_on_all_workers, read_newest_on_all_workers
from mulan.runs.checkpoint import write_checkpoint
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.training.state import Progress
from tests.conftest import S3
from tests.processes import run_in_processes

Found = tuple[int, list[float], list[str], list[str]]
"""The step of what was read, its numbers, what was told, and what is left in the temporary folder."""


def read(uri: str, places: list[str], temporary: str, environment: dict[str, str]) -> Found:
    os.environ |= environment
    tempfile.tempdir = temporary
    told: list[str] = []
    found = read_newest_on_all_workers(uri, place=places[dist.get_rank()], on_corrupt=told.append)
    assert found is not None
    dist.barrier()
    numbers = found.state["weights.a"].tolist()  # from files that are gone
    return found.progress.steps_done, numbers, told, os.listdir(temporary)


def read_by_two(uri: str, places: list[str], folder: Path) -> list[Found]:
    (folder / "temporary").mkdir()
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return run_in_processes(read, 2, uri, places, str(folder / "temporary"), environment, folder=folder / "out")


@pytest.mark.processes
@pytest.mark.parametrize(("places", "downloads"), [(["node-1", "node-1"], 1), (["node-1", "node-2"], 2)])
def test_a_checkpoint_is_downloaded_once_for_each_machine(
    places: list[str], downloads: int, s3: S3, tmp_path: Path
) -> None:
    """And not at all where it is corrupt, except to detect that."""
    for steps in (3, 6):
        write_checkpoint(s3.uri, {"weights.a": torch.full((3,), float(steps))}, Progress(steps))
    spoiled = f"{s3.uri}/checkpoint_000000006/state.safetensors"
    s3.files.pipe_file(spoiled, bytes([s3.files.cat_file(spoiled)[0] ^ 1]) + s3.files.cat_file(spoiled)[1:])
    s3.proxy.asked.clear()
    found = read_by_two(s3.uri, places, tmp_path)
    assert [(step, numbers, left) for step, numbers, _, left in found] == [(3, [3.0] * 3, [])] * 2
    assert "checkpoint_000000006 is corrupt" in found[0][2][0]  # the first worker's are recorded
    for step in (3, 6):
        file = f"checkpoint_{step:09d}/state.safetensors"
        assert sum(one.startswith("GET") and file in one for one in s3.proxy.asked) == downloads


def disagree(uris: list[str]) -> tuple[str, int, str, int, str]:
    rank = dist.get_rank()

    def ask() -> int:
        if rank == 1:
            raise StorageError("s3://bucket does not answer")
        return 1

    def ask_as_nobody() -> int:
        if rank == 0:
            raise StoragePermanentError("s3://bucket: access is denied")
        return 1

    with pytest.raises(TrainingFailed) as failed:
        raise_on_all_workers(ask)
    with pytest.raises(TrainingFailed) as refused:
        raise_on_all_workers(ask_as_nobody)
    assert raise_on_all_workers(lambda: rank) == rank
    with pytest.raises(RuntimeError) as differ:
        read_newest_on_all_workers(uris[rank], place=f"node-{rank}", on_corrupt=pytest.fail)
    return str(failed.value), failed.value.exit_code, str(refused.value), refused.value.exit_code, str(differ.value)


@pytest.mark.processes
def test_all_workers_end_alike_by_a_fault_of_one_or_what_they_find_different(tmp_path: Path) -> None:
    uris = [str(tmp_path / name) for name in ("a", "b")]
    write_checkpoint(uris[0], {"weights.a": torch.ones(3)}, Progress(3))
    different = "workers read different checkpoints, of steps [3, 0]; they are restarted"
    told = run_in_processes(disagree, 2, uris, folder=tmp_path / "out")
    assert told == [("s3://bucket does not answer", 1, "s3://bucket: access is denied", 2, different)] * 2

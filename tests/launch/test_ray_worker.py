"""Tests collective reads of storage: one download per node, and one error for all workers."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mulan.launch.policies import TrainingFailed
from mulan.launch.ray_worker import raise_on_all_workers, read_newest_on_all_workers
from mulan.storage.errors import StorageError, StoragePermanentError
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint
from tests.conftest import S3
from tests.processes import run_in_processes

Result = tuple[int, list[float], list[str], list[str]]
"""The step of the checkpoint, its weights, the messages, and the files that remain in the temporary folder."""


def read(uri: str, places: list[str], temporary: str, environment: dict[str, str]) -> Result:
    os.environ |= environment
    tempfile.tempdir = temporary
    messages: list[str] = []
    checkpoint = read_newest_on_all_workers(uri, place=places[dist.get_rank()], on_corrupt=messages.append)
    assert checkpoint is not None
    dist.barrier()
    weights = checkpoint.state["weights.a"].tolist()  # read from files that have been removed
    return checkpoint.progress.steps_done, weights, messages, os.listdir(temporary)


def read_by_two(uri: str, places: list[str], folder: Path) -> list[Result]:
    (folder / "temporary").mkdir()
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return run_in_processes(read, 2, uri, places, str(folder / "temporary"), environment, folder=folder / "out")


@pytest.mark.processes
@pytest.mark.parametrize(("places", "downloads"), [(["node-1", "node-1"], 1), (["node-1", "node-2"], 2)])
def test_a_checkpoint_is_downloaded_once_per_node(places: list[str], downloads: int, s3: S3, tmp_path: Path) -> None:
    """A corrupt one is downloaded once per node too, to detect that."""
    for steps in (3, 6):
        write_checkpoint(s3.uri, {"weights.a": torch.full((3,), float(steps))}, Progress(steps))
    (corrupt,) = [name for name in s3.files.find(f"{s3.uri}/checkpoint_000000006") if name.endswith(".safetensors")]
    s3.files.pipe_file(corrupt, bytes([s3.files.cat_file(corrupt)[0] ^ 1]) + s3.files.cat_file(corrupt)[1:])
    s3.proxy.requests.clear()
    results = read_by_two(s3.uri, places, tmp_path)
    assert [(step, weights, remaining) for step, weights, _, remaining in results] == [(3, [3.0] * 3, [])] * 2
    assert "checkpoint_000000006 is corrupt" in results[0][2][0]  # the messages of the first worker are recorded
    for step in (3, 6):
        file = f"checkpoint_{step:09d}/state-g0-00000-of-00001-"
        assert sum(request.startswith("GET") and file in request for request in s3.proxy.requests) == downloads


def disagree(uris: list[str]) -> tuple[str, int, str, int, str]:
    rank = dist.get_rank()

    def fail_on_second_worker() -> int:
        if rank == 1:
            raise StorageError("s3://bucket does not answer")
        return 1

    def fail_on_first_worker() -> int:
        if rank == 0:
            raise StoragePermanentError("s3://bucket: access is denied")
        return 1

    with pytest.raises(TrainingFailed) as failed:
        raise_on_all_workers(fail_on_second_worker)
    with pytest.raises(TrainingFailed) as refused:
        raise_on_all_workers(fail_on_first_worker)
    assert (failed.value.cause_name, refused.value.cause_name) == ("StorageError", "StoragePermanentError")
    assert raise_on_all_workers(lambda: rank) == rank
    with pytest.raises(RuntimeError) as differ:
        read_newest_on_all_workers(uris[rank], place=f"node-{rank}", on_corrupt=pytest.fail)
    return str(failed.value), failed.value.exit_code, str(refused.value), refused.value.exit_code, str(differ.value)


@pytest.mark.processes
def test_all_workers_end_with_the_error_of_one_or_if_their_checkpoints_differ(tmp_path: Path) -> None:
    uris = [str(tmp_path / name) for name in ("a", "b")]
    write_checkpoint(uris[0], {"weights.a": torch.ones(3)}, Progress(3))
    different = "workers read different checkpoints, of steps [3, 0]; they are restarted"
    results = run_in_processes(disagree, 2, uris, folder=tmp_path / "out")
    assert results == [("s3://bucket does not answer", 1, "s3://bucket: access is denied", 2, different)] * 2

"""Tests the rank and settings of a worker, and that it leaves the process group also after an error."""

import os
import queue

import pytest
import torch
import torch.distributed as dist

from mulan.benchmarks.worker_group import Reading, _worker
from mulan.config.sections import ScaleConfig
from mulan.distributed.collectives import rank_and_world_size

VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TOKENIZERS_PARALLELISM",
    "DS_ACCELERATOR",
)


@pytest.fixture(autouse=True)
def _environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, os.environ.get(name, ""))


def settings(argument: float, device: torch.device) -> Reading:
    rank, workers = rank_and_world_size()
    assert device == torch.device("cpu") and os.environ["DS_ACCELERATOR"] == "cpu"
    return {"rank": rank, "workers": workers, "threads": torch.get_num_threads(), "argument": argument}


def failing(device: torch.device) -> Reading:
    assert dist.is_initialized()
    raise KeyError("in a measurement")


def test_a_worker_measures_within_its_group_and_leaves_it() -> None:
    results: queue.SimpleQueue[tuple[int, Reading]] = queue.SimpleQueue()
    _worker(0, ScaleConfig(cpus_per_worker=torch.get_num_threads()), 0, settings, (7.0,), results)
    expected = {"rank": 0, "workers": 1, "threads": torch.get_num_threads(), "argument": 7.0}
    assert results.get_nowait() == (0, expected)
    assert not dist.is_initialized()


def test_a_worker_leaves_the_group_after_an_error() -> None:
    with pytest.raises(KeyError, match="in a measurement"):
        _worker(0, ScaleConfig(cpus_per_worker=torch.get_num_threads()), 0, failing, (), queue.SimpleQueue())
    assert not dist.is_initialized()

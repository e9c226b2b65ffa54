"""A worker's place in its group, and that the group is given up however the reading ends."""

import os
import queue

import pytest
import torch
import torch.distributed as dist

from mulan.benchmarks.worker_group import Reading, _worker
from mulan.config.sections import ScaleConfig
from mulan.distributed.collectives import rank_and_world_size

SET = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TOKENIZERS_PARALLELISM", "DS_ACCELERATOR")


@pytest.fixture(autouse=True)
def _environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET:
        monkeypatch.setenv(name, os.environ.get(name, ""))


def seen(wanted: float, device: torch.device) -> Reading:
    rank, workers = rank_and_world_size()
    assert device == torch.device("cpu") and os.environ["DS_ACCELERATOR"] == "cpu"
    return {"rank": rank, "workers": workers, "threads": torch.get_num_threads(), "wanted": wanted}


def failing(device: torch.device) -> Reading:
    assert dist.is_initialized()
    raise KeyError("in a reading")


def test_a_worker_reads_within_its_group_and_leaves_it() -> None:
    results: queue.SimpleQueue[tuple[int, Reading]] = queue.SimpleQueue()
    _worker(0, ScaleConfig(cpus_per_worker=torch.get_num_threads()), 0, seen, (7.0,), results)
    expected = {"rank": 0, "workers": 1, "threads": torch.get_num_threads(), "wanted": 7.0}
    assert results.get_nowait() == (0, expected)
    assert not dist.is_initialized()


def test_a_reading_that_fails_leaves_the_group_as_well() -> None:
    with pytest.raises(KeyError, match="in a reading"):
        _worker(0, ScaleConfig(cpus_per_worker=torch.get_num_threads()), 0, failing, (), queue.SimpleQueue())
    assert not dist.is_initialized()

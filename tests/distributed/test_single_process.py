"""Tests the process group of a process alone."""

import pytest
import torch
import torch.distributed as dist

from mulan.distributed.collectives import all_gather_objects, all_reduce_sum, rank_and_world_size
from mulan.distributed.single_process import single_process_group


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "DS_ACCELERATOR"):
        monkeypatch.setenv(name, "cpu")  # restored afterwards


def test_collective_functions_run_in_the_block_alone() -> None:
    with single_process_group(use_gpu=False):
        assert rank_and_world_size() == (0, 1)
        assert all_gather_objects("own") == ["own"]
        tensor = torch.ones(2)
        all_reduce_sum(tensor)
        assert tensor.tolist() == [1.0, 1.0]
    assert not dist.is_initialized()


def test_the_group_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), single_process_group(use_gpu=False):
        _ = 1 / 0
    assert not dist.is_initialized()

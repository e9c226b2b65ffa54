"""Tests that measurements of memory include known allocations of every kind."""

import os

import pytest
import torch

from mulan.benchmarks.memory import extra_memory_mb, free_memory_mb, held_memory_mb


def blocks(megabytes: int, *, numbers: int) -> list[torch.Tensor]:
    """Returns initialised blocks, each of ``numbers`` float32 values."""
    return [torch.ones(numbers) for _ in range(megabytes * 10**6 // (4 * numbers))]


@pytest.mark.parametrize("numbers", [10_000, 25_000_000])
def test_a_temporary_allocation_is_measured(numbers: int) -> None:
    blocks(150, numbers=numbers)  # freed memory that the allocator keeps must not hide the next allocation
    assert extra_memory_mb(lambda: blocks(100, numbers=numbers), device="cpu") == pytest.approx(100, abs=10)


def test_memory_held_before_does_not_count() -> None:
    held = blocks(100, numbers=25_000_000)
    assert extra_memory_mb(lambda: held[0].mul_(2), device="cpu") < 10


def test_a_peak_before_does_not_count() -> None:
    blocks(100, numbers=25_000_000)
    assert extra_memory_mb(lambda: None, device="cpu") < 10


def test_freed_memory_is_not_held() -> None:
    before = held_memory_mb()
    held = blocks(100, numbers=10_000)
    assert held_memory_mb() - before == pytest.approx(100, abs=10)
    held.clear()
    assert held_memory_mb() - before < 10


def test_free_memory_is_a_part_of_the_machines_memory() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    assert 0.01 * total < free_memory_mb(device="cpu") < total

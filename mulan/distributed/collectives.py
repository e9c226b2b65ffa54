"""Collectives that also work in a single process without a process group."""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather as all_gather_with_autograd

GLOO_BYTES = 2**20
"""Maximum size of what gloo gathers at a time, unless a single row of all processes is larger.

gloo gathers into a buffer of its own, and copies from there. Buffers of many MiB would not only double the memory: once
one is freed, glibc takes blocks of its size from the heap, where freed memory mostly stays with the process.
"""


def rank_and_world_size() -> tuple[int, int]:
    """Returns this process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def all_gather(rows: torch.Tensor) -> torch.Tensor:
    """Gathers the rows of all W processes in rank order, without gradient: [n, ...] per process to [W n, ...] on all.

    n must be equal on all processes.
    """
    rows, workers = rows.detach(), rank_and_world_size()[1]
    if workers == 1:
        return rows
    gathered = rows.new_empty((workers, *rows.shape))
    if dist.get_backend() == "gloo":
        count = max(1, GLOO_BYTES // max(1, gathered[:, :1].nbytes))
        for start in range(0, len(rows), count):
            piece = slice(start, start + count)
            dist.all_gather(list(gathered[:, piece]), rows[piece].contiguous())
    else:
        dist.all_gather_into_tensor(gathered, rows.contiguous())
    return gathered.flatten(0, 1)


def all_gather_with_grad(rows: torch.Tensor) -> torch.Tensor:
    """Gathers the rows of all W processes in rank order: [n, ...] per process to [W n, ...] on all.

    The gradient of a process's own rows is the *sum* of the gradients of all processes' losses, so that each process
    can compute its own part of a sum over the global batch. n must be equal on all processes.
    """
    return torch.cat(all_gather_with_autograd(rows)) if rank_and_world_size()[1] > 1 else rows  # type: ignore[no-untyped-call]


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Returns the sum over all processes, without gradient."""
    total = values.detach().clone()
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(total)
    return total


def reduce_scatter_sum(values: torch.Tensor) -> torch.Tensor:
    """Sums the values over the W processes and returns this process's shard of the sum, [n].

    Args:
        values: [W n] on each process; may be overwritten.
    """
    rank, workers = rank_and_world_size()
    if workers == 1:
        return values
    if dist.get_backend() == "gloo":  # its reduce_scatter is slower than all_reduce
        dist.all_reduce(values)
        return values.view(workers, -1)[rank]
    shard = values.new_empty(len(values) // workers)
    dist.reduce_scatter_tensor(shard, values)
    return shard


def all_gather_objects(value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Gathers a small picklable value from each process, in rank order, on all processes.

    Args:
        group: The group of all processes to use; None for the default one.
    """
    values = [value] * rank_and_world_size()[1]
    if rank_and_world_size()[1] > 1:
        dist.all_gather_object(values, value, group=group)
    return values


def background_group(timeout_s: float) -> dist.ProcessGroup | None:
    """Returns a further group of all processes, for collectives on the CPU in a thread; None without a process group.

    Collective. Collectives of different groups may be in any order, so those of a thread do not disturb training.

    Args:
        timeout_s: Time that a collective waits for the other processes.
    """
    if not dist.is_initialized():
        return None
    return dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))

"""Collectives that also work in a single process, where there is no process group and nothing to gather."""

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather as all_gather_with_autograd


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def all_gather(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in rank order and without gradient: [n, ...] of each becomes [W n, ...] on all.

    Every process must give the same n.
    """
    workers = rank_and_world_size()[1]
    if workers == 1:
        return rows.detach()
    everyone = rows.new_empty((workers * len(rows), *rows.shape[1:]))
    dist.all_gather_into_tensor(everyone, rows.detach().contiguous())
    return everyone


def all_gather_with_grad(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in rank order: [n, ...] of each becomes [W n, ...] on all.

    The gradient of a process's own rows is the *sum* of what all processes' losses send back to them, so that each
    process may compute its own part of a sum over the global batch. Every process must give the same n.
    """
    return torch.cat(all_gather_with_autograd(rows)) if rank_and_world_size()[1] > 1 else rows  # type: ignore[no-untyped-call]


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum over the processes, without gradient."""
    total = values.detach().clone()
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(total)
    return total


def reduce_scatter_sum(values: torch.Tensor) -> torch.Tensor:
    """Returns this process's part of the sum of the values over the W processes, which is cut into W equal parts.

    Args:
        values: [W n] on each process, of which [n] is returned. They may be overwritten.
    """
    rank, workers = rank_and_world_size()
    if workers == 1:
        return values
    if dist.get_backend() == "gloo":  # whose own takes longer than summing all
        dist.all_reduce(values)
        return values.view(workers, -1)[rank]
    shard = values.new_empty(len(values) // workers)
    dist.reduce_scatter_tensor(shard, values)
    return shard


def all_gather_objects(value: Any) -> list[Any]:
    """One picklable value of every process, in rank order, on all of them. Small things only."""
    values = [value] * rank_and_world_size()[1]
    if rank_and_world_size()[1] > 1:
        dist.all_gather_object(values, value)
    return values

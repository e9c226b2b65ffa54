"""Tests collectives in a single process and in several, and the gradients of gathered rows."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from mulan.distributed.collectives import (
    GLOO_BYTES,
    all_gather,
    all_gather_objects,
    all_gather_with_grad,
    all_reduce_sum,
    rank_and_world_size,
    reduce_scatter_sum,
)
from tests.processes import run_in_processes

WORKERS = 2


def rows_of(rank: int) -> torch.Tensor:
    """Returns rows [3, 2] that differ between ranks."""
    return torch.arange(6, dtype=torch.float64).reshape(3, 2) + 10 * rank


def pull_of(rank: int) -> torch.Tensor:
    """Returns the factors of all gathered rows in a rank's loss, which are its gradient with respect to them."""
    return torch.sin(torch.arange(6.0 * WORKERS, dtype=torch.float64).reshape(3 * WORKERS, 2) + 100 * rank)


def test_a_single_process_gathers_itself() -> None:
    rows = rows_of(0).requires_grad_()
    gathered = all_gather_with_grad(rows)
    assert torch.equal(gathered, rows)
    (gathered * pull_of(0)[:3]).sum().backward()
    assert torch.equal(rows.grad, pull_of(0)[:3])  # type: ignore[arg-type]
    assert torch.equal(all_gather(rows), rows)
    assert not all_gather(rows).requires_grad
    assert torch.equal(reduce_scatter_sum(rows_of(0).flatten()), rows_of(0).flatten())
    assert rank_and_world_size() == (0, 1)
    assert all_gather_objects({"step": 3}) == [{"step": 3}]


def test_a_sum_has_no_gradient_and_leaves_its_terms_alone() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    total = all_reduce_sum(values)
    assert total.tolist() == [1.0, 2.0]
    assert not total.requires_grad
    total += 5
    assert values.tolist() == [1.0, 2.0]


def gathered_numbers(count: int, width: int) -> torch.Tensor:
    """Gathers rows of this rank that count on from those of the rank before."""
    numbers = torch.arange(count * width, dtype=torch.int64).view(count, width)
    return all_gather(numbers + dist.get_rank() * numbers.numel())


def wide_gathers() -> list[torch.Tensor]:
    row = GLOO_BYTES // 8  # of one process; those of both have twice the size of a piece
    return [gathered_numbers(1000, 321), gathered_numbers(3, row), gathered_numbers(0, 4)]


@pytest.mark.processes
def test_rows_of_several_pieces_are_gathered_in_order(tmp_path: Path) -> None:
    """The rows are a multiple of a piece plus a rest, larger than a piece each, or none at all."""
    assert 1000 * 321 * 8 * WORKERS > 4 * GLOO_BYTES
    for found in run_in_processes(wide_gathers, WORKERS, folder=tmp_path):
        for gathered, (count, width) in zip(found, ((2000, 321), (6, GLOO_BYTES // 8), (0, 4)), strict=True):
            assert torch.equal(gathered, torch.arange(count * width).view(count, width))


def collect() -> dict[str, Any]:
    rank = dist.get_rank()
    rows = rows_of(rank).requires_grad_()
    gathered = all_gather_with_grad(rows)
    (gathered * pull_of(rank)).sum().backward()
    values = torch.tensor([1.0 + rank])
    plain = all_gather(rows), all_gather(rows.T.contiguous().T)  # not contiguous on the second rank
    return {
        "world": rank_and_world_size(),
        "gathered": gathered.detach(),
        "plain": [tensor.tolist() for tensor in plain],
        "plain has gradient": any(tensor.requires_grad for tensor in plain),
        "gradient": rows.grad,
        "sum": all_reduce_sum(values).item(),
        "summed": values.item(),
        "objects": all_gather_objects(["rank", rank]),
        "shards": shards(rank),
    }


def shards(rank: int) -> list[torch.Tensor]:
    """Computes the sums with both implementations; gloo supports the other one as well."""
    own = reduce_scatter_sum(rows_of(rank).flatten())
    with patch.object(dist, "get_backend", return_value="nccl"):
        return [own, reduce_scatter_sum(rows_of(rank).flatten())]


@pytest.mark.processes
def test_processes_gather_in_rank_order_and_sum_gradients(tmp_path: Path) -> None:
    everything = torch.cat([rows_of(rank) for rank in range(WORKERS)])
    pull = sum(pull_of(rank) for rank in range(WORKERS))
    assert isinstance(pull, torch.Tensor)
    total = torch.stack([rows_of(rank).flatten() for rank in range(WORKERS)]).sum(dim=0)
    for rank, found in enumerate(run_in_processes(collect, WORKERS, folder=tmp_path)):
        assert found["world"] == (rank, WORKERS)
        assert torch.equal(found["gathered"], everything)
        assert found["plain"] == [everything.tolist()] * 2
        assert not found["plain has gradient"]
        assert [shard.tolist() for shard in found["shards"]] == [total[3 * rank :][:3].tolist()] * 2
        torch.testing.assert_close(found["gradient"], pull[3 * rank : 3 * rank + 3], rtol=1e-15, atol=0)
        assert found["sum"] == 3.0
        assert found["summed"] == 1.0 + rank
        assert found["objects"] == [["rank", 0], ["rank", 1]]

"""Tests the calculated cost of exact sums against the operations that run and against small examples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mulan.benchmarks.measure import BenchmarkRefused
from mulan.benchmarks.sums_calculated import (
    ADDED_BY_FIRST_TERM,
    ADDED_BY_NORM,
    ADDED_BY_SUM,
    ADDED_BY_TERM,
    added_memory_traffic,
    calculate_sums,
    plain_step_s,
    sent_bytes,
)
from mulan.config.recipe import Recipe
from mulan.distributed import fixed_point
from mulan.distributed.fixed_point import FixedPointSum, norm_over_workers, to_float
from mulan.recipes.registry import load_recipe

NUM_PARAMETERS = 2**15


class _Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read or write; views count as none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns):
            read = args[1:] if func._schema.name == "aten::copy_" else args
            tensors = [each for each in tree_leaves((read, result)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(each.nbytes for each in tensors)
        return result


def bytes_per_parameter(run: Callable[[], object]) -> float:
    with _Traffic() as counted:
        run()
    return counted.bytes / NUM_PARAMETERS


def test_traffic_of_adding_terms() -> None:
    total = FixedPointSum(NUM_PARAMETERS, max_terms=4, device=torch.device("cpu"))
    term = [torch.randn(NUM_PARAMETERS // 2), torch.randn(NUM_PARAMETERS // 2)]
    assert bytes_per_parameter(lambda: total.add(term)) == pytest.approx(ADDED_BY_FIRST_TERM, abs=0.01)
    plain, more = torch.randn(NUM_PARAMETERS), torch.randn(NUM_PARAMETERS)
    added = bytes_per_parameter(lambda: total.add(term)) - bytes_per_parameter(lambda: plain.add_(more))
    assert added == pytest.approx(ADDED_BY_TERM, abs=0.01)


def test_traffic_of_converting_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    part = NUM_PARAMETERS // 2**10  # all parts but the first are converted in place
    monkeypatch.setitem(fixed_point._CHUNK_SIZE, "cpu", part)
    units = torch.zeros(NUM_PARAMETERS, dtype=torch.float64)
    assert bytes_per_parameter(lambda: to_float(units)) == pytest.approx(ADDED_BY_SUM, abs=0.05)


def test_traffic_of_a_norm() -> None:
    numbers = torch.randn(NUM_PARAMETERS)
    measured = bytes_per_parameter(lambda: norm_over_workers([numbers], torch.zeros((), dtype=torch.bool)))
    assert measured - 4 == pytest.approx(ADDED_BY_NORM, abs=0.01)


def recipe_of(stage: int, micro_batches: int = 6) -> Recipe:
    settings = [f"train.zero_stage={stage}", f"batch.micro_batches={micro_batches}", "batch.pairs_per_micro_batch=5"]
    return load_recipe("demo_miniature", settings)


@pytest.mark.parametrize(("stage", "exact", "plain"), [(0, 2, 2), (1, 1, 1), (2, 1, 3), (3, 3, 3)])
def test_a_ring_algorithm_sends_all_shards_but_one(stage: int, exact: int, plain: int) -> None:
    """Two workers have shards of 7 parameters; sums are sent once, twice, or after each of three micro-batches."""
    assert sent_bytes(recipe_of(stage), 2, 14, exact=True) == exact * 7 * 8
    assert sent_bytes(recipe_of(stage), 2, 14, exact=False) == plain * 7 * 4


@pytest.mark.parametrize(("stage", "shards"), [(0, 1), (1, 3)])
def test_each_worker_adds_its_own_terms_and_converts_its_shard(stage: int, shards: int) -> None:
    by_terms = ADDED_BY_FIRST_TERM + ADDED_BY_TERM
    expected = 1000 * (by_terms + ADDED_BY_SUM / shards + ADDED_BY_NORM / 3)
    assert added_memory_traffic(recipe_of(stage), 3, 1000) == pytest.approx(expected)


def test_forward_passes_are_repeated_for_several_micro_batches() -> None:
    flops = 0.4 * 989e12 / 5  # a forward of five pairs takes a second
    assert plain_step_s(recipe_of(0), 6, flops) == pytest.approx(3)
    assert plain_step_s(recipe_of(0), 3, flops) == pytest.approx(2 * 4)


def test_a_recipe_that_no_cluster_can_share_is_refused() -> None:
    with pytest.raises(BenchmarkRefused, match=r"batch\.micro_batches=6: neither 8 nor 64 workers can share them"):
        calculate_sums(recipe_of(0))


def test_the_report_has_the_clusters_that_can_share_the_micro_batches() -> None:
    with_eight, with_64 = calculate_sums(recipe_of(0, micro_batches=8)), calculate_sums(recipe_of(0, micro_batches=64))
    assert [row.name for row in with_eight.rows] == ["8 workers in one machine"]
    assert [row.name for row in with_64.rows][1:] == [
        "64 in 8, 400 Gbit/s for each GPU",
        "64 in 8, 400 Gbit/s for each machine",
    ]
    assert [goal.measured for goal in with_64.goals] == [row.figures["added"].median for row in with_64.rows]

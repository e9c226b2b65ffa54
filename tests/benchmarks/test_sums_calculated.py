"""What exact sums are said to cost, held against the operations that are run and against small numbers."""

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

NUMBERS = 2**15


class _Moved(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read or write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns):
            read = args[1:] if func._schema.name == "aten::copy_" else args
            tensors = [each for each in tree_leaves((read, found)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(each.nbytes for each in tensors)
        return found


def moved_a_number(run: Callable[[], object]) -> float:
    with _Moved() as counted:
        run()
    return counted.bytes / NUMBERS


def test_adding_terms_moves_what_is_said() -> None:
    total = FixedPointSum(NUMBERS, max_terms=4, device=torch.device("cpu"))
    term = [torch.randn(NUMBERS // 2), torch.randn(NUMBERS // 2)]
    assert moved_a_number(lambda: total.add(term)) == pytest.approx(ADDED_BY_FIRST_TERM, abs=0.01)
    plain, more = torch.randn(NUMBERS), torch.randn(NUMBERS)
    added = moved_a_number(lambda: total.add(term)) - moved_a_number(lambda: plain.add_(more))
    assert added == pytest.approx(ADDED_BY_TERM, abs=0.01)


def test_taking_a_sum_moves_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    part = NUMBERS // 2**10  # all parts but the first are converted in place
    monkeypatch.setitem(fixed_point._CHUNK_SIZE, "cpu", part)
    units = torch.zeros(NUMBERS, dtype=torch.float64)
    assert moved_a_number(lambda: to_float(units)) == pytest.approx(ADDED_BY_SUM, abs=0.05)


def test_a_norm_moves_what_is_said() -> None:
    numbers = torch.randn(NUMBERS)
    found = moved_a_number(lambda: norm_over_workers([numbers], torch.zeros((), dtype=torch.bool)))
    assert found - 4 == pytest.approx(ADDED_BY_NORM, abs=0.01)


def recipe_of(stage: int, micro_batches: int = 6) -> Recipe:
    settings = [f"train.zero_stage={stage}", f"batch.micro_batches={micro_batches}", "batch.pairs_per_micro_batch=5"]
    return load_recipe("demo_miniature", settings)


@pytest.mark.parametrize(("stage", "exact", "plain"), [(0, 2, 2), (1, 1, 1), (2, 1, 3), (3, 3, 3)])
def test_a_ring_sends_all_shards_but_one(stage: int, exact: int, plain: int) -> None:
    """Two workers with shards of 7 numbers, once, there and back, or after each of three micro-batches."""
    assert sent_bytes(recipe_of(stage), 2, 14, exact=True) == exact * 7 * 8
    assert sent_bytes(recipe_of(stage), 2, 14, exact=False) == plain * 7 * 4


@pytest.mark.parametrize(("stage", "shards"), [(0, 1), (1, 3)])
def test_terms_are_added_on_the_worker_whose_they_are_and_shards_are_shared(stage: int, shards: int) -> None:
    by_terms = ADDED_BY_FIRST_TERM + ADDED_BY_TERM
    expected = 1000 * (by_terms + ADDED_BY_SUM / shards + ADDED_BY_NORM / 3)
    assert added_memory_traffic(recipe_of(stage), 3, 1000) == pytest.approx(expected)


def test_forwards_are_repeated_where_a_worker_has_several_micro_batches() -> None:
    flops = 0.4 * 989e12 / 5  # a forward of five pairs takes a second
    assert plain_step_s(recipe_of(0), 6, flops) == pytest.approx(3)
    assert plain_step_s(recipe_of(0), 3, flops) == pytest.approx(2 * 4)


def test_a_recipe_that_none_of_the_clusters_can_share_is_refused() -> None:
    with pytest.raises(BenchmarkRefused, match=r"batch\.micro_batches=6: neither 8 nor 64 workers can share them"):
        calculate_sums(recipe_of(0))


def test_the_report_has_the_clusters_that_the_micro_batches_can_be_shared_on() -> None:
    of_eight, of_all = calculate_sums(recipe_of(0, micro_batches=8)), calculate_sums(recipe_of(0, micro_batches=64))
    assert [row.name for row in of_eight.rows] == ["8 workers in one machine"]
    assert [row.name for row in of_all.rows][1:] == [
        "64 in 8, 400 Gbit/s for each GPU",
        "64 in 8, 400 Gbit/s for each machine",
    ]
    assert [goal.measured for goal in of_all.goals] == [row.figures["added"].median for row in of_all.rows]

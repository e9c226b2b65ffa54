"""Tests fixed-point sums and norms against Python's exact fractions, and the detection of numbers out of range."""

import math
import random
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mulan.distributed.collectives import rank_and_world_size
from mulan.distributed.fixed_point import FRACTION_BITS, SUM_BITS, UNITS, FixedPointSum, norm_over_workers, to_float
from tests.model.waits import HostWaits
from tests.processes import run_in_processes

CPU = torch.device("cpu")
ROOM = 2.0 ** (SUM_BITS - FRACTION_BITS)
PARTS = 2**16
"""Number of elements that are processed at a time on a CPU."""

Rows = Sequence[Sequence[float]]
checked = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def below(limit: float) -> float:
    return float(np.nextafter(np.float32(limit), np.float32(0)))


def terms(limit: float) -> st.SearchStrategy[float]:
    """Returns float32 numbers of all magnitudes, and ties of rounding."""
    smooth = st.floats(-below(limit), below(limit), width=32)
    ties = st.integers(-(2**20), 2**20).map(lambda k: (2 * k + 1) * 2.0 ** -(FRACTION_BITS + 1))
    decades = st.builds(lambda m, e: m * 2.0**e, st.integers(-(2**23), 2**23), st.integers(-149, -25))
    edges = st.sampled_from([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, below(limit), -below(limit)])
    return st.one_of(smooth, ties, decades, edges)


def added(rows: Rows, *, max_terms: int) -> FixedPointSum:
    found = FixedPointSum(len(rows[0]) if rows else 0, max_terms=max_terms, device=CPU)
    for row in rows:
        found.add([torch.tensor(row, dtype=torch.float32) * UNITS])
    return found


def exact_units(rows: Rows) -> list[int]:
    """Fractions are rounded to the nearest, ties to even."""
    return [sum(round(Fraction(value) * 2**FRACTION_BITS) for value in column) for column in zip(*rows, strict=True)]


def nearest_float32(value: Fraction) -> float:
    """Returns the nearest float32 number, with ties to even."""
    near = np.float32(float(value))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return float(min(candidates, key=lambda one: (abs(Fraction(float(one)) - value), int(one.view(np.int32)) & 1)))


@checked
@given(st.data(), st.integers(1, 7), st.integers(1, 40), st.randoms(use_true_random=False))
def test_sums_are_exact_in_any_order_and_grouping(
    data: st.DataObject, count: int, length: int, order: random.Random
) -> None:
    row = st.lists(terms(ROOM / count), min_size=length, max_size=length)
    rows = data.draw(st.lists(row, min_size=count, max_size=count))
    expected = exact_units(rows)
    shuffled = order.sample(rows, count)
    cut = order.randrange(count + 1)
    whole = added(rows, max_terms=count)
    groups = [added(part, max_terms=count) for part in (shuffled[:cut], shuffled[cut:]) if part]
    assert whole.units.tolist() == expected
    assert torch.stack([group.units for group in groups]).sum(dim=0).tolist() == expected
    assert not any(one.nonfinite for one in (whole, *groups))
    assert to_float(whole.units).tolist() == [nearest_float32(Fraction(n, 2**FRACTION_BITS)) for n in expected]


@pytest.mark.parametrize("place", [0, 5, 8, PARTS - 1, PARTS, 2 * PARTS, 2 * PARTS + 2])
@pytest.mark.parametrize("max_terms", [1, 3, 512])
def test_a_number_out_of_range_is_detected_at_any_position(place: int, max_terms: int) -> None:
    limit = ROOM / max_terms
    above = float(np.nextafter(np.float32(limit), np.float32(np.inf)))
    for bad in (above, -above, 3e38, math.inf, -math.inf, math.nan):
        found = FixedPointSum(2 * PARTS + 3, max_terms=max_terms, device=CPU)
        values = torch.full((2 * PARTS + 3,), 0.25)
        found.add([values * UNITS])
        assert not found.nonfinite
        values[place] = bad
        found.add([values * UNITS])
        assert found.nonfinite, bad
        found.add([torch.zeros(2 * PARTS + 3)])
        assert found.nonfinite, "forgotten"


def test_a_number_at_the_limit_is_detected() -> None:
    for bad in (ROOM, -ROOM):
        assert added([[bad]], max_terms=1).nonfinite
        assert added([[bad / 8]], max_terms=8).nonfinite


@pytest.mark.parametrize("max_terms", [1, 2, 3, 7, 512])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_maximum_number_of_terms_does_not_overflow(max_terms: int, sign: int) -> None:
    largest = sign * below(ROOM / max_terms)
    found = added([[largest, -largest, largest]] * max_terms, max_terms=max_terms)
    total = max_terms * round(Fraction(largest) * 2**FRACTION_BITS)
    assert abs(total) < 2**53
    assert found.units.tolist() == [total, -total, total]
    assert not found.nonfinite


@pytest.mark.parametrize("lengths", [[PARTS + 5], [3, 0, 2 * PARTS, 1, PARTS - 1, 9], [1] * 20, [PARTS, PARTS]])
def test_a_term_may_consist_of_any_tensors_and_be_shorter_than_the_sum(lengths: list[int]) -> None:
    values, rest = torch.randn(sum(lengths), generator=torch.Generator().manual_seed(1)) * UNITS, torch.zeros(7)
    whole = FixedPointSum(len(values) + len(rest), max_terms=8, device=CPU)
    parts = FixedPointSum(len(values) + len(rest), max_terms=8, device=CPU)
    for _ in range(2):
        whole.add([torch.cat([values, rest])])
        parts.add(values.split(lengths))
        assert torch.equal(parts.units, whole.units)
    assert parts.units[: len(values)].all() and not parts.units[len(values) :].any()


def test_tensors_are_added_in_the_order_of_their_indices() -> None:
    """Gradients of convolutions may have another memory format."""
    values = torch.arange(24.0).view(1, 4, 2, 3)
    found = FixedPointSum(24, max_terms=1, device=CPU)
    found.add([(values * UNITS).contiguous(memory_format=torch.channels_last)])
    assert to_float(found.units).tolist() == list(range(24))


def test_reset_begins_a_new_sum() -> None:
    found = added([[1.0, 2.0, math.nan]], max_terms=2)
    found.reset()
    assert not found.nonfinite
    found.add([torch.tensor([4.0 * UNITS])])
    assert to_float(found.units).tolist() == [4.0, 0.0, 0.0]


def test_terms_are_not_modified_and_add_does_not_synchronise() -> None:
    values, found = torch.randn(PARTS + 5) * UNITS, FixedPointSum(PARTS + 5, max_terms=8, device=CPU)
    before = values.clone()
    with HostWaits() as waits:
        found.add([values])
        found.add([values])
    assert waits.found == []
    assert torch.equal(values, before)
    assert found.units.all()


def test_sums_are_converted_in_place() -> None:
    units = torch.arange(2 * PARTS + 3).double() * 2**30
    place = units.data_ptr()
    found = to_float(units)
    assert found.tolist() == [number * 2.0 ** (30 - FRACTION_BITS) for number in range(2 * PARTS + 3)]
    assert found.data_ptr() == place


@checked
@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=40))
@example([2**52 + 2**28 + 1, 2**52 + 2**28, 2**52 + 2**28 - 1, 3 * 2**28, -(2**52) - 2**28 - 1] * 4)
def test_sums_are_rounded_once(units: list[int]) -> None:
    found = to_float(torch.tensor(units, dtype=torch.float64))
    assert found.dtype == torch.float32
    assert found.tolist() == [nearest_float32(Fraction(n, 2**FRACTION_BITS)) for n in units]


def exact_norm(numbers: Sequence[float]) -> Decimal:
    squares = sum((Fraction(number) ** 2 for number in numbers), Fraction(0))
    return (Decimal(squares.numerator) / Decimal(squares.denominator)).sqrt()


HEALTHY = torch.tensor(False)
NONFINITE = torch.tensor(True)


@checked
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=60), st.data())
@example([3.4e38] * 3, None)
@example([2.0**-149, 2.0**-149], None)
@example([1.0, -1.0] + [2.0**-31] * 40, None)
def test_norms_equal_those_of_fractions_for_any_partition(numbers: list[float], data: st.DataObject | None) -> None:
    values = torch.tensor(numbers, dtype=torch.float32)
    found = norm_over_workers([values], HEALTHY)
    with localcontext(prec=150):
        expected = exact_norm(values.tolist())
        # the error of each square is at most 2^-59 of the squared power of two above the maximum, or 2^-57 of the sum;
        # that of the root is half of it, before the rounding of the integer and of its root
        error = Decimal(len(numbers)) * Decimal(2) ** -58 + Decimal(2) ** -52
        assert abs(Decimal(found) - expected) <= error * expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(numbers)), max_size=4))) if data else [1]
    assert norm_over_workers(torch.tensor_split(values, cuts), HEALTHY) == found
    assert norm_over_workers([values.flip(0).view(1, -1)], HEALTHY) == found


def test_norms_of_empty_and_of_nonfinite_tensors() -> None:
    assert norm_over_workers([], HEALTHY) == 0.0
    assert norm_over_workers([torch.zeros(5), torch.zeros(0)], HEALTHY) == 0.0
    assert norm_over_workers([torch.tensor([3.0, -4.0]), torch.zeros(0)], HEALTHY) == 5.0
    for parts in ([], [torch.zeros(5)], [torch.ones(3)]):
        assert math.isnan(norm_over_workers(parts, NONFINITE))


def test_norms_of_many_numbers_are_exact_enough_and_do_not_depend_on_parts() -> None:
    values = torch.randn(3 * PARTS + 7, generator=torch.Generator().manual_seed(1)).exp()
    found = norm_over_workers([values], HEALTHY)
    assert found == pytest.approx(math.sqrt(math.fsum(value * value for value in values.tolist())), rel=3e-16)
    assert norm_over_workers(torch.split(values, 1000), HEALTHY) == found


def norms_of_a_share(cuts: list[list[int]]) -> list[float]:
    """The norm of the same numbers at each cut, every time with a nonfinite piece in the last process at the end."""
    rank = rank_and_world_size()[0]
    numbers = torch.randn(999, generator=torch.Generator().manual_seed(2)).exp().pow(3)
    found = [norm_over_workers([torch.tensor_split(numbers, cut)[rank]], HEALTHY) for cut in cuts]
    last = torch.tensor(rank == rank_and_world_size()[1] - 1)
    return [*found, norm_over_workers([numbers if rank == 0 else numbers[:0]], last)]


@pytest.mark.processes
def test_norms_have_the_same_bits_for_any_distribution_over_workers(tmp_path: Path) -> None:
    cuts = [[0, 0], [0, 999], [333, 666], [1, 2], [500, 998], [999, 999]]
    ranks = run_in_processes(norms_of_a_share, 3, cuts, folder=tmp_path)
    alone = norms_of_a_share([[]])[0]
    for *shared, nonfinite in ranks:
        assert shared == [alone] * len(cuts)
        assert math.isnan(nonfinite)

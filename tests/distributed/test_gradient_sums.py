"""Tests replicated and sharded gradient sums over micro-batches and workers against loops over integers."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch
from torch import nn

from mulan.distributed.collectives import rank_and_world_size
from mulan.distributed.fixed_point import FRACTION_BITS, UNITS, term_limit
from mulan.distributed.gradient_sums import ReplicatedSums, ShardedSums, clip_grad_norm
from tests.processes import run_in_processes

SHAPES = [(3, 5), (), (7,), (2, 2, 2), (1,), (4, 4)]
"""Shapes of parameters with 15, 1, 7, 8, 1 and 16 elements, most of them divisible by neither 2 nor 3."""
MICRO_BATCHES, STEPS = 6, 2
ABSENT = {(0, 1): {0, 3}, (0, 4): {5}, (1, 2): set(range(len(SHAPES)))}
"""Indices of the parameters without a gradient, by step and micro-batch."""
HEALTHY = torch.tensor(False)


def gradient(step: int, micro_batch: int, number: int) -> torch.Tensor:
    """Returns the gradient of one parameter, over many orders of magnitude, with an exact zero."""
    seed = torch.Generator().manual_seed(1000 * step + 10 * micro_batch + number)
    values = torch.randn(SHAPES[number], generator=seed)
    decades = torch.randint(-45, 4, values.shape, generator=seed)
    values = values * 2.0**decades
    values.view(-1)[-1] *= micro_batch > 2
    return values


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]


def scalar(params: Sequence[nn.Parameter], step: int, micro_batch: int) -> torch.Tensor:
    """Returns a scalar with that gradient."""
    absent = ABSENT.get((step, micro_batch), set())
    taken = [number for number in range(len(SHAPES)) if number not in absent]
    if (step + micro_batch) % 2:  # changes the order in which gradients arrive
        taken.reverse()
    terms = [(params[number] * gradient(step, micro_batch, number)).sum() for number in taken]
    return torch.stack(terms).sum() if terms else torch.zeros((), requires_grad=True)


def expected(step: int, micro_batches: Sequence[int] = range(MICRO_BATCHES)) -> list[list[float]]:
    """Computes the sum of each parameter's gradient in integers, rounded to float32 at the end."""
    sums: list[list[float]] = []
    for number, shape in enumerate(SHAPES):
        units = [0] * math.prod(shape)
        for micro_batch in micro_batches:
            if number not in ABSENT.get((step, micro_batch), set()):
                values = gradient(step, micro_batch, number).flatten().tolist()
                addends = [round(Fraction(value) * 2**FRACTION_BITS) for value in values]
                units = [one + other for one, other in zip(units, addends, strict=True)]
        sums.append([math.ldexp(float(torch.tensor(unit).float()), -FRACTION_BITS) for unit in units])
    return sums


class StepSums(NamedTuple):
    """A worker's sums after each step, and whether each was nonfinite."""

    sums: list[list[float]]
    nonfinite: list[bool]


def steps_of(sums: ReplicatedSums | ShardedSums, params: Sequence[nn.Parameter]) -> StepSums:
    rank, workers = rank_and_world_size()
    share, found = MICRO_BATCHES // workers, StepSums([], [])
    for step in range(STEPS):
        for micro_batch in range(rank * share, (rank + 1) * share):
            (scalar(params, step, micro_batch) * UNITS).backward()  # type: ignore[no-untyped-call]
            sums.end_micro_batch()
        found.sums.append(sums.take().tolist())
        found.nonfinite.append(bool(sums.nonfinite))
        sums.begin_step()
    return found


def whole(*, shard: int | None) -> StepSums:
    params = parameters()
    return steps_of(ReplicatedSums(params, micro_batches=MICRO_BATCHES, shard=shard), params)


def sharded(bucket: int) -> StepSums:
    params = parameters()
    with patch("mulan.distributed.gradient_sums.BUCKET_SIZE", bucket):
        sums = ShardedSums(params, [p.numel() for p in params], micro_batches=MICRO_BATCHES)
    return steps_of(sums, params)


BUCKETS = [1, 16, 2**24]
"""Bucket sizes: a bucket for each parameter, a few buckets, and one for all parameters."""
PADDED = 54
"""Length of the 48 elements, padded for all numbers of workers in this test."""


def found_by_all() -> dict[str, StepSums]:
    """Returns the results of all kinds of sums in one process group."""
    return {
        "whole": whole(shard=None),
        "shards of the whole": whole(shard=PADDED // rank_and_world_size()[1]),
        **{f"sharded {bucket}": sharded(bucket) for bucket in BUCKETS},
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, StepSums]]]:
    alone = {1: [found_by_all()]}
    return alone | {n: run_in_processes(found_by_all, n, folder=tmp_path_factory.mktemp("out")) for n in (2, 3)}


def joined(numbers: Sequence[Sequence[float]]) -> list[float]:
    return [value for part in numbers for value in part]


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_replicated_sums_equal_those_of_a_loop(workers: int, found: dict[int, list[dict[str, StepSums]]]) -> None:
    for rank in found[workers]:
        assert rank["whole"].sums == [joined(expected(step)) for step in range(STEPS)]
        assert rank["whole"].nonfinite == [False, False]
    shards = [rank["shards of the whole"].sums for rank in found[workers]]
    for step in range(STEPS):
        together = joined([shard[step] for shard in shards])
        assert {len(shard[step]) for shard in shards} == {PADDED // workers}
        assert together[:48] == joined(expected(step))
        assert not any(together[48:])


@pytest.mark.processes
@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_sharded_sums_equal_those_of_a_loop(
    workers: int, bucket: int, found: dict[int, list[dict[str, StepSums]]]
) -> None:
    for step in range(STEPS):
        for rank, of_rank in enumerate(found[workers]):
            ours: list[float] = []
            for total in expected(step):
                width = -(-len(total) // workers)
                padded = total + [0.0] * (width * workers - len(total))
                ours += padded[rank * width : (rank + 1) * width]
            assert of_rank[f"sharded {bucket}"].sums[step] == ours
            assert of_rank[f"sharded {bucket}"].nonfinite[step] is False


@pytest.mark.parametrize("kind", ["whole", "sharded"])
@pytest.mark.parametrize("bad", [term_limit(MICRO_BATCHES) + 1, -math.inf, math.nan])
def test_a_nonfinite_step_is_detected_and_does_not_affect_the_next_one(kind: str, bad: float) -> None:
    params = parameters()
    sums: ReplicatedSums | ShardedSums
    if kind == "whole":
        sums = ReplicatedSums(params, micro_batches=MICRO_BATCHES)
    else:
        sums = ShardedSums(params, [p.numel() for p in params], micro_batches=MICRO_BATCHES)
    (params[2][3] * bad * UNITS).backward()  # type: ignore[no-untyped-call]
    sums.end_micro_batch()
    (scalar(params, 0, 0) * UNITS).backward()  # type: ignore[no-untyped-call]
    sums.end_micro_batch()
    assert sums.nonfinite
    sums.take()
    sums.begin_step()
    assert not sums.nonfinite
    (scalar(params, 0, 2) * UNITS).backward()  # type: ignore[no-untyped-call]
    sums.end_micro_batch()
    assert sums.take().tolist() == joined(expected(0, [2]))
    assert not sums.nonfinite


def test_gradients_are_clipped_to_the_norm_and_nonfinite_ones_unchanged() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[-4.0]])]
    assert clip_grad_norm(gradients, gradients, HEALTHY, max_norm=5.0) == 5.0
    assert [gradient.tolist() for gradient in gradients] == [[3.0, 0.0], [[-4.0]]]
    assert clip_grad_norm(gradients, gradients, HEALTHY, max_norm=2.5) == 5.0
    assert [gradient.tolist() for gradient in gradients] == [[1.5, 0.0], [[-2.0]]]
    assert math.isnan(clip_grad_norm(gradients, gradients, torch.tensor(True), max_norm=1.0))
    assert [gradient.tolist() for gradient in gradients] == [[1.5, 0.0], [[-2.0]]]
    assert clip_grad_norm(gradients, gradients, HEALTHY, max_norm=math.inf) == 2.5
    assert math.isnan(clip_grad_norm(gradients, gradients, torch.tensor(True), max_norm=math.inf))
    assert [gradient.tolist() for gradient in gradients] == [[1.5, 0.0], [[-2.0]]]
    zeros = [torch.zeros(4)]
    assert clip_grad_norm(zeros, zeros, HEALTHY, max_norm=1.0) == 0.0

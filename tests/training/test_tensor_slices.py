"""Tests that the shares of workers have each element once, and that none is larger than another."""

import random

import pytest
import torch

from mulan.training.tensor_slices import TensorSlice, share_of

DTYPES = (torch.float32, torch.int64, torch.bool, torch.bfloat16)


def tensors(seed: int) -> list[TensorSlice]:
    rng = random.Random(seed)
    shapes = [(), (0,), (1,), *((rng.randrange(1, 6), rng.randrange(1, 40)) for _ in range(8))]
    return [
        TensorSlice.whole(f"t{number}", torch.randint(0, 2, shape).to(rng.choice(DTYPES)))
        for number, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 500])
def test_shares_have_each_element_once_and_are_even(workers: int) -> None:
    held = tensors(workers)
    found: dict[str, list[torch.Tensor]] = {one.name: [] for one in held}
    sizes = []
    for rank in range(workers):
        share = list(share_of(held, rank, workers))
        sizes.append(sum(one.values.nbytes for one in share))
        for one in share:
            assert one.start == sum(len(part) for part in found[one.name])  # in order and without gaps
            found[one.name].append(one.values.reshape(-1))
    for one in held:
        assert torch.equal(torch.cat(found[one.name]), one.values.reshape(-1))
    assert max(sizes) - min(sizes) <= 2 * 8  # an element at either end


def test_slices_share_memory_with_their_tensors() -> None:
    tensor = torch.zeros(4, 6)
    first, second = (list(share_of([TensorSlice.whole("a", tensor)], rank, 2)) for rank in range(2))
    tensor[1, 5], tensor[2, 0] = 1, 2
    assert first[0].values[-1] == 1 and second[0].values[0] == 2
    assert (second[0].shape, second[0].start, second[0].is_whole) == ((4, 6), 12, False)
    (alone,) = share_of([TensorSlice.whole("a", tensor)], 0, 1)
    assert alone.values.shape == (4, 6) and alone.is_whole

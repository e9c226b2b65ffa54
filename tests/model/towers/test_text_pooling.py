"""Tests pooling against loops over the tokens of each text in float64."""

from typing import get_args

import pytest
import torch

from mulan.config.sections import Pooling
from mulan.model.towers.text_pooling import pool

LENGTHS = [3, 8, 1, 5]
POOLINGS = get_args(Pooling)


def drawn(*, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns outputs [4, 8, 6], and the mask of texts of 1 to 8 tokens."""
    outputs = torch.randn(len(LENGTHS), 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return outputs.to(dtype), (torch.arange(8) < torch.tensor(LENGTHS)[:, None]).long()


def by_loops(outputs: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    rows = []
    for text, length in zip(outputs.double(), LENGTHS, strict=True):
        tokens = [text[position] for position in range(length)]
        rows.append({"cls": tokens[0], "mean": sum(tokens, torch.zeros(6)) / length, "last": tokens[-1]}[pooling])
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_equals_loops_over_the_tokens(pooling: Pooling, dtype: torch.dtype) -> None:
    outputs, mask = drawn(dtype=dtype)
    pooled = pool(outputs, mask, pooling)
    if pooling == "mean":
        assert pooled.dtype == torch.promote_types(dtype, torch.float32)  # bf16 is accumulated in float32
        torch.testing.assert_close(pooled.double(), by_loops(outputs, pooling), rtol=1e-6, atol=1e-6)
    else:
        assert pooled.dtype == dtype
        assert torch.equal(pooled.double(), by_loops(outputs, pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_gradient_is_that_of_the_loops(pooling: Pooling) -> None:
    outputs, mask = drawn(dtype=torch.float64)
    weights = torch.randn(len(LENGTHS), 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    (pool(ours, mask, pooling) * weights).sum().backward()
    (by_loops(theirs, pooling) * weights).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_outputs_at_padding_are_not_read(pooling: Pooling) -> None:
    outputs, mask = drawn(dtype=torch.float32)
    spoiled = outputs.masked_fill((mask == 0)[..., None], float("nan"))
    assert torch.equal(pool(spoiled, mask, pooling), pool(outputs, mask, pooling))

"""Tests logistic regression against loops over its formula."""

import math

import pytest
import torch

from mulan.objectives.tagging import tagging_loss


def the_formula(logits: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Computes -1/(mC) sum [t log p + (1 - t) log(1 - p)] with p = 1 / (1 + exp(-x))."""
    total = torch.zeros((), dtype=torch.float64)
    for row, truth in zip(logits, tags, strict=True):
        for logit, bears in zip(row, truth, strict=True):
            p = 1 / (1 + torch.exp(-logit))
            total = total - (torch.log(p) if bears else torch.log(1 - p))
    return total / logits.numel()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_value_and_gradient_are_those_of_the_formula(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=generator).to(dtype).requires_grad_()
    tags = (torch.rand(5, 7, generator=generator) < 0.3).to(torch.uint8)
    reference = logits.detach().double().requires_grad_()
    (expected := the_formula(reference, tags)).backward()
    (found := tagging_loss(logits, tags)).backward()
    assert found.dtype == dtype
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    assert logits.grad is not None
    assert reference.grad is not None
    assert float((logits.grad - reference.grad).norm() / reference.grad.norm()) < tolerance


def test_chance_and_extremes() -> None:
    tags = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
    assert tagging_loss(torch.zeros(2, 2), tags).item() == pytest.approx(math.log(2))
    sure = torch.where(tags.bool(), 200.0, -200.0)
    assert tagging_loss(sure, tags).item() == 0
    assert tagging_loss(-sure, tags).item() == pytest.approx(200)
    assert tagging_loss(torch.zeros(2, 2, dtype=torch.bfloat16), tags).dtype == torch.float32

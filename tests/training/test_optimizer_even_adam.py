"""Tests that Adam's update has the same bits at any position in a tensor, and that it equals the formulas."""

import itertools
from collections.abc import Sequence
from functools import cache

import pytest
import torch

from mulan.training.optimizer import EvenAdamW

NUMBERS, STEPS = 1003, 4


@cache  # computed once, since powers depend on the number of threads
def gradients(numbers: int) -> list[torch.Tensor]:
    """Returns gradients over fourteen decades, as in networks."""
    generator = torch.Generator().manual_seed(1)

    def one() -> torch.Tensor:
        decades = torch.empty(numbers).uniform_(-12, 2, generator=generator)
        return torch.randn(numbers, generator=generator) * 10**decades

    return [one() for _ in range(STEPS)]


def trained(optimizer: type[torch.optim.Optimizer], lengths: Sequence[int], *, decay: float) -> list[torch.Tensor]:
    """Trains parameters of the given lengths, and returns the flattened weights and both moments."""
    whole = torch.randn(sum(lengths), generator=torch.Generator().manual_seed(0))
    parameters = [torch.nn.Parameter(part.clone()) for part in whole.split(list(lengths))]
    adam = optimizer(parameters, lr=1e-3, weight_decay=decay, fused=True)  # type: ignore[call-arg]
    for gradient in gradients(len(whole)):
        for parameter, part in zip(parameters, gradient.split(list(lengths)), strict=True):
            parameter.grad = part.clone()
        adam.step()
    assert all(adam.state[parameter]["step"] == STEPS for parameter in parameters)
    found = [parameters, *([adam.state[p][moment] for p in parameters] for moment in ("exp_avg", "exp_avg_sq"))]
    return [torch.cat([tensor.detach() for tensor in tensors]) for tensors in found]


def cut(numbers: int, length: int) -> list[int]:
    return [length] * (numbers // length) + ([numbers % length] if numbers % length else [])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_update_does_not_depend_on_the_position_in_a_tensor(decay: float) -> None:
    whole = trained(EvenAdamW, [NUMBERS], decay=decay)
    for length in (1, 7, 16, 17, 500):
        cut_up = trained(EvenAdamW, cut(NUMBERS, length), decay=decay)
        for one, other in zip(whole, cut_up, strict=True):
            assert torch.equal(one, other), length


def test_threads_change_nothing() -> None:
    """A tensor that is split over threads has a remainder in each."""
    numbers, threads = 2**17 + 5, torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(trained(EvenAdamW, [numbers], decay=0.1))
    finally:
        torch.set_num_threads(threads)
    assert all(itertools.starmap(torch.equal, zip(*found, strict=True)))


def test_the_update_equals_adam_s_formulas() -> None:
    """The reference computes single numbers in float64 by the paper's formulas."""
    lr, beta1, beta2, epsilon, decay, numbers = 1e-3, 0.9, 0.999, 1e-8, 0.1, 40
    weights = torch.randn(numbers, generator=torch.Generator().manual_seed(0)).double()
    first, second = torch.zeros(numbers).double(), torch.zeros(numbers).double()
    for step, gradient in enumerate(gradients(numbers), start=1):
        first = beta1 * first + (1 - beta1) * gradient.double()
        second = beta2 * second + (1 - beta2) * gradient.double() ** 2
        corrected = (second / (1 - beta2**step)).sqrt() + epsilon
        weights = weights * (1 - lr * decay) - lr * first / (1 - beta1**step) / corrected
    for found, expected in zip(trained(EvenAdamW, [numbers], decay=decay), (weights, first, second), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-12)


def test_parameters_without_a_gradient_are_unchanged() -> None:
    parameters = [torch.nn.Parameter(torch.ones(20)), torch.nn.Parameter(torch.ones(20))]
    adam = EvenAdamW(parameters, lr=0.1)
    parameters[1].grad = torch.ones(20)
    adam.step()
    assert torch.equal(parameters[0].detach(), torch.ones(20)) and parameters[0] not in adam.state
    assert (parameters[1] < 1).all()

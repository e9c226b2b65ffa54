"""Tests the average of weights against a loop in float64 and torch's own average, and its bits."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mulan.training.weight_average import WeightAverage

NUMBERS, STEPS = 1003, 30


def path(numbers: int = NUMBERS) -> list[torch.Tensor]:
    """Returns weights before training and after each step, of magnitudes over six decades."""
    generator = torch.Generator().manual_seed(0)
    scale = 10 ** torch.empty(numbers).uniform_(-5, 1, generator=generator)
    steps = torch.randn(STEPS + 1, numbers, generator=generator) * 0.1
    steps[0] *= 10
    return list((steps * scale).cumsum(dim=0))


def averaged(weights: list[torch.Tensor], *, decay: float) -> torch.Tensor:
    average = WeightAverage({"a": weights[0]}, decay=decay)
    for after in weights[1:]:
        average.update({"a": after})
    return average.tensors["a"]


@pytest.mark.parametrize("decay", [0.1, 0.9, 0.9999])
def test_the_average_equals_a_loop_in_float64(decay: float) -> None:
    weights = path()
    expected = weights[0].double().tolist()
    for after in weights[1:]:
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, after.double().tolist(), strict=True)]
    found = averaged(weights, decay=decay)
    limit = STEPS * 2**-24 * torch.stack(weights).abs().amax(dim=0).double()
    assert ((found.double() - torch.tensor(expected, dtype=torch.float64)).abs() <= limit).all()


def test_the_average_of_a_trained_model_equals_torch_s() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    theirs.update_parameters(model)  # the first call copies the weights
    ours = WeightAverage(dict(model.named_parameters()), decay=0.8)
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(20):
        model(torch.randn(8, 5)).square().mean().backward()
        adam.step()
        adam.zero_grad()
        theirs.update_parameters(model)
        ours.update(dict(model.named_parameters()))
    for name, parameter in theirs.module.named_parameters():
        torch.testing.assert_close(ours.tensors[name], parameter.detach(), rtol=2e-6, atol=1e-7)
        assert not torch.allclose(ours.tensors[name], dict(model.named_parameters())[name].detach(), rtol=0.01)


@pytest.mark.parametrize("length", [1, 7, 16, 17, 500])
def test_the_bits_do_not_depend_on_the_position_in_a_tensor(length: int) -> None:
    weights = path()
    whole = averaged(weights, decay=0.9)
    pieces = [averaged(list(piece), decay=0.9) for piece in zip(*(one.split(length) for one in weights), strict=True)]
    assert torch.equal(torch.cat(pieces), whole)


def test_constant_weights_are_their_own_average() -> None:
    weights = path()[0]
    assert torch.equal(averaged([weights] * 1000, decay=0.9999), weights)


def test_average_and_weights_are_exchanged_bit_for_bit() -> None:
    first, second = path()[:2]
    model = {"a": second.clone()}
    average = WeightAverage({"a": first}, decay=0.9)
    average.update(model)
    expected = average.tensors["a"].clone()
    for _ in range(2):  # again: no further exchange
        average.exchange(model, in_model=True)
        assert torch.equal(model["a"], expected)
    for _ in range(2):
        average.exchange(model, in_model=False)
        assert torch.equal(model["a"], second)
        assert torch.equal(average.tensors["a"], expected)


def test_the_initial_weights_are_copied() -> None:
    weights = {"a": torch.ones(3)}
    average = WeightAverage(weights, decay=0.5)
    weights["a"] += 2
    assert average.tensors["a"].tolist() == [1, 1, 1]
    average.update(weights)
    assert average.tensors["a"].tolist() == [2, 2, 2]

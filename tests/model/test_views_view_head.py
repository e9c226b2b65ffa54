"""Tests the projection head of views: two layers without biases, and unit rows."""

import numpy as np
import torch

from mulan.config.objectives import SemiSupConConfig
from mulan.model.outputs import unit_rows
from mulan.model.views import ViewHead


def head() -> ViewHead:
    torch.manual_seed(0)
    return ViewHead(5, SemiSupConConfig(head_hidden_size=7, head_dim=3))


def test_two_layers_with_a_relu_between_them_give_unit_rows() -> None:
    pooled = torch.randn(4, 2, 5)
    projected = head()(pooled)
    assert projected.shape == (4, 2, 3)
    inner, outer = (weight.detach().double().numpy() for weight in head().parameters())
    for recording in range(4):
        for view in range(2):
            row = outer @ np.maximum(inner @ pooled[recording, view].double().numpy(), 0)
            expected = row / np.sqrt((row**2).sum())
            np.testing.assert_allclose(projected[recording, view].detach(), expected, atol=1e-6)


def test_there_are_no_biases() -> None:
    assert {name: tuple(weight.shape) for name, weight in head().named_parameters()} == {
        "layers.0.weight": (7, 5),
        "layers.2.weight": (3, 7),
    }


def test_zero_rows_stay_finite() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    unit = unit_rows(rows)
    assert torch.equal(unit[0], torch.zeros(2))
    torch.testing.assert_close(unit[1], torch.tensor([0.6, 0.8]))
    (gradient,) = torch.autograd.grad((unit * torch.tensor([1.0, 2.0])).sum(), rows)
    assert torch.isfinite(gradient).all()

"""What it takes to compare two trainings of one model: a smooth model, and how near is the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mulan.config.recipe import Recipe
from mulan.model.build import Model, build_model
from mulan.model.text_tower import TextTower

TOLERANCE = {"weights": 1e-5, "exp_avg": 1e-4, "exp_avg_sq": 1e-4}
"""Relative to the largest of the tensor, or to 0.1 for weights that are all smaller (biases start at 0)."""


class SmoothPeak(nn.Module):
    """The maximum over a whole dimension as a sum of exponentials. A mean is linear; of its gradient the batch norms in
    front and behind would leave next to nothing, and of that mostly rounding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.logsumexp(self.dim, keepdim=True)


_SMOOTH: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.ReLU: lambda _: nn.GELU(),  # softplus is almost linear too
    nn.MaxPool1d: lambda layer: nn.AvgPool1d(layer.kernel_size, layer.stride, layer.padding),
    nn.MaxPool2d: lambda layer: nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding),
    nn.AdaptiveMaxPool1d: lambda _: SmoothPeak(dim=-1),
    nn.AdaptiveMaxPool2d: lambda _: SmoothPeak(dim=-2),
}


def without_kinks(recipe: Recipe, text_tower: TextTower | None = None) -> Model:
    """The model, with GELU for ReLU and smooth pooling for max pooling, so that its gradient is continuous.

    Sums in another order differ by rounding. Where that puts a single input of a ReLU on the other side of zero, the
    gradient of a small layer jumps by parts in a thousand, and both are right: such weights cannot be compared.
    """
    model = build_model(recipe, text_tower)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) in _SMOOTH:
                setattr(parent, name, _SMOOTH[type(layer)](layer))
    return model


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def assert_same_state(state: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> None:
    """Of :meth:`mulan.training.engine.Engine.state`."""
    assert state.keys() == reference.keys()
    for name, tensor in state.items():
        kind = name.partition(".")[0]
        expected = reference[name]
        scale = max(float(expected.abs().max()), 0.1 if kind == "weights" else 0.0)
        assert float((tensor - expected).abs().max()) <= TOLERANCE[kind] * scale, name


def assert_same_norms(lines: list[dict[str, Any]], reference: list[dict[str, Any]]) -> None:
    norms = [[line["gradient_norm"] for line in some] for some in (lines, reference)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def assert_same_validations(ours: list[dict[str, Any]], reference: list[dict[str, Any]]) -> None:
    """Ranks are whole numbers: among windows of one steady tone, rounding decides who comes first."""
    found, expected = ([line for line in lines if "validation" in line] for lines in (ours, reference))
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["validation"]["mrr"] == pytest.approx(other["validation"]["mrr"], abs=0.02)

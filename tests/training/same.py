"""What it takes to compare two trainings of one model: a smooth model, and how near is the same."""

from typing import Any

import pytest
import torch
from torch import nn

from mulan.config.recipe import Recipe
from mulan.model.build import build_model
from mulan.model.joint import JointModel
from mulan.model.tagging import TaggingModel

TOLERANCE = {"weights": 1e-5, "exp_avg": 1e-4, "exp_avg_sq": 1e-4}
"""Relative to the largest of the tensor, or to 0.1 for weights that are all smaller (biases start at 0)."""


def without_kinks(recipe: Recipe) -> JointModel | TaggingModel:
    """The model, with softplus for ReLU and mean pooling for max pooling, so that its gradient is continuous.

    Sums in another order differ by rounding. Where that puts a single input of a ReLU on the other side of zero, the
    gradient of a small layer jumps by parts in a thousand, and both are right: such weights cannot be compared.
    """
    model = build_model(recipe)
    for parent in list(model.audio_encoder.tower.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.ReLU):
                setattr(parent, name, nn.Softplus())
            elif isinstance(layer, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding))
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

"""Tests what tells the softmax losses apart: their values for equal and for distant pairs, and their precision."""

import decimal
import math

import pytest
import torch

from mulan.config.objectives import LossConfig, LossWeightsConfig, collapsed_losses
from mulan.objectives import tiles
from mulan.objectives.contrastive import clip_loss, contrastive_loss, decoupled_loss
from tests.objectives.pair_losses import LOSSES, TOLERANCE, Loss, errors, the_formula, unit_rows, with_gradients

SOFTMAX = {"contrastive": contrastive_loss, "clip": clip_loss, "decoupled": decoupled_loss}


def matrix(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h = torch.exp(audio @ text.T / temperature)
    return h, h - torch.diag(h.diagonal())


def positive_in_the_denominator(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor, *_: object
) -> torch.Tensor:
    h, _others = matrix(audio, text, temperature)
    return (torch.log(h.sum(0) + h.sum(1) - h.diagonal()) - torch.log(h.diagonal())).mean()


def one_direction(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor, *_: object) -> torch.Tensor:
    h, others = matrix(audio, text, temperature)
    return (torch.log(2 * others.sum(1)) - torch.log(h.diagonal())).mean()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("wrong", [positive_in_the_denominator, one_direction, *LOSSES.values()])
def test_other_losses_are_detected(wrong: Loss, name: str) -> None:
    audio, text = unit_rows(16, seed=1), unit_rows(16, seed=2)
    reference = with_gradients(the_formula(name), audio, text, 0.1)
    found = errors(with_gradients(wrong, audio, text, 0.1), reference)
    assert (min(found[1:4]) > 1000 * TOLERANCE[torch.float32]) == (wrong is not LOSSES[name])


@pytest.mark.parametrize("pairs", [2, 3, 64, 6144])
@pytest.mark.parametrize("name", SOFTMAX)
def test_the_loss_of_identical_embeddings(name: str, pairs: int) -> None:
    """It does not depend on the temperature, nor on whether audio and text collapse to the same vector."""
    weights = LossWeightsConfig(contrastive=1, clip=1, decoupled=1)
    expected = collapsed_losses(LossConfig(weights=weights), pairs)[name]
    audio, text = torch.nn.functional.normalize(torch.randn(2, 1, 8), dim=2)
    for other, temperature in ((audio, 0.1), (text, 0.03)):
        with torch.no_grad():
            loss = SOFTMAX[name](audio.expand(pairs, 8), other.expand(pairs, 8), temperature)
        assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.001, 0.01])
@pytest.mark.parametrize("tile", [1, 4, 1024])
@pytest.mark.parametrize("name", SOFTMAX)
def test_values_at_a_low_temperature(name: str, tile: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """exp(1 / 0.001) overflows float64, but not decimal numbers."""
    monkeypatch.setattr(tiles, "TILE", tile)
    audio, text = unit_rows(6, seed=3).float(), unit_rows(6, seed=4).float()
    audio[0] = text[1]  # the largest possible similarity, between an audio and a text that are not a pair
    warmth = decimal.Decimal(float(torch.tensor(temperature)))
    h = [[(decimal.Decimal(float(a.double() @ t.double())) / warmth).exp() for t in text] for a in audio]
    total = decimal.Decimal(0)
    for i in range(6):
        row, column = (
            sum(one(j) for j in range(6) if j != i) for one in (lambda j, i=i: h[i][j], lambda j, i=i: h[j][i])
        )
        if name == "contrastive":
            total += ((row + column) / h[i][i]).ln()
        else:
            positive = h[i][i] if name == "clip" else 0
            total += ((row + positive) / h[i][i] * (column + positive) / h[i][i]).ln() / 2
    assert SOFTMAX[name](audio, text, temperature).item() == pytest.approx(float(total) / 6, rel=1e-6)


def test_clip_keeps_its_precision_near_0() -> None:
    """Of pairs that are told apart, the loss is log(1 + x) with a tiny x."""
    rows = torch.eye(4, dtype=torch.float64)
    found = with_gradients(LOSSES["clip"], rows, rows, 0.02)
    x = 3 * math.exp(-1 / 0.02)
    assert found.value.item() == pytest.approx(x, rel=1e-12)
    assert found.audio[0, 0].item() == pytest.approx(-x / 0.02 / 4, rel=1e-12)

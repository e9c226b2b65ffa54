"""Tests the sigmoid loss against binary cross-entropy over the whole matrix, and the effect of its bias."""

import math

import pytest
import torch

from mulan.objectives import tiles
from mulan.objectives.siglip import siglip_loss
from tests.objectives.pair_losses import TOLERANCE, errors, unit_rows, with_gradients


def cross_entropy(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor, bias: torch.Tensor, texts: torch.Tensor | None
) -> torch.Tensor:
    logits = audio @ text.T / temperature + bias
    targets = torch.eye(len(audio), dtype=logits.dtype)
    weight = torch.ones_like(targets) if texts is None else torch.clamp(targets + (texts[:, None] != texts), max=1)
    whole = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, weight, reduction="sum")
    return whole / len(audio)


@pytest.mark.parametrize("texts", [None, torch.arange(11) // 2], ids=["all", "masked"])
def test_the_loss_is_the_binary_cross_entropy_of_all_pairs(
    texts: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", 4)
    audio, text = unit_rows(11, seed=1), unit_rows(11, seed=2)
    ours = with_gradients(siglip_loss, audio, text, 0.1, texts)
    assert max(errors(ours, with_gradients(cross_entropy, audio, text, 0.1, texts))) < TOLERANCE[torch.float64]
    assert ours.bias.abs() > 0.01


@pytest.mark.parametrize("pairs", [2, 600])
def test_orthogonal_pairs_at_the_paper_s_start(pairs: int) -> None:
    """With temperature 0.1 and bias -10, pairs have logit 0 and all others -10."""
    rows = torch.eye(pairs)
    expected = math.log(2) + (pairs - 1) * math.log1p(math.exp(-10))
    assert siglip_loss(rows, rows, 0.1, -10.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bias", [-1000.0, 1000.0])
def test_extreme_biases_do_not_overflow(bias: float) -> None:
    rows = unit_rows(6, seed=3)
    leaf = torch.tensor(bias, dtype=torch.float64, requires_grad=True)
    loss = siglip_loss(rows, rows, 0.5, leaf)
    loss.backward()  # type: ignore[no-untyped-call]
    pairs, others = 6, 30
    similarities = rows @ rows.T / 0.5
    if bias < 0:  # the pairs alone are wrong
        assert loss.item() == pytest.approx(-bias - 2)
        assert leaf.grad is not None and leaf.grad.item() == pytest.approx(-1)
    else:
        total = (similarities.sum() - similarities.trace()).item() + bias * others
        assert loss.item() == pytest.approx(total / pairs)
        assert leaf.grad is not None and leaf.grad.item() == pytest.approx(others / pairs)

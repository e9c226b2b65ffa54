"""The losses of audio-text pairs with one signature, and their formulas as loops over pairs."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from mulan.objectives.contrastive import clip_loss, contrastive_loss, decoupled_loss
from mulan.objectives.siglip import siglip_loss

BIAS = -3.0


class Result(NamedTuple):
    """A loss and its gradients."""

    value: torch.Tensor
    audio: torch.Tensor
    text: torch.Tensor
    temperature: torch.Tensor
    bias: torch.Tensor
    """0 for losses without a bias."""


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""A loss of audio, text, temperature, bias and ids of the texts."""

LOSSES: dict[str, Loss] = {
    "contrastive": lambda audio, text, temperature, _, texts: contrastive_loss(audio, text, temperature, texts),
    "clip": lambda audio, text, temperature, _, texts: clip_loss(audio, text, temperature, texts),
    "decoupled": lambda audio, text, temperature, _, texts: decoupled_loss(audio, text, temperature, texts),
    "siglip": siglip_loss,
}


def sum_of_exponentials(similarities: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(similarities).exp().sum()


def the_formula(name: str) -> Loss:
    """Returns the formula of a loss, a loop over pairs and their negatives."""

    def computed(
        audio: torch.Tensor,
        text: torch.Tensor,
        temperature: torch.Tensor,
        bias: torch.Tensor,
        texts: torch.Tensor | None,
    ) -> torch.Tensor:
        def s(i: int, j: int) -> torch.Tensor:
            return audio[i] @ text[j] / temperature

        total = torch.zeros((), dtype=torch.float64)
        for i in range(len(audio)):
            negatives = [j for j in range(len(audio)) if j != i and (texts is None or texts[i] != texts[j])]
            row, column = [s(i, j) for j in negatives], [s(j, i) for j in negatives]
            if name == "contrastive":
                total = total + sum_of_exponentials(row + column).log() - s(i, i)
            elif name == "clip":
                for similarities in (row, column):
                    total = total - (s(i, i).exp() / sum_of_exponentials([s(i, i), *similarities])).log() / 2
            elif name == "decoupled":
                for similarities in (row, column):
                    total = total - (s(i, i).exp() / sum_of_exponentials(similarities)).log() / 2
            else:
                total = total - torch.sigmoid(s(i, i) + bias).log()
                for similarity in row:
                    total = total - torch.sigmoid(-similarity - bias).log()
        return total / len(audio)

    return computed


def unit_rows(count: int, *, seed: int, dim: int = 8) -> torch.Tensor:
    """Returns random unit rows, float64 [count, dim]."""
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def with_gradients(
    loss: Loss, audio: torch.Tensor, text: torch.Tensor, temperature: float, texts: torch.Tensor | None = None
) -> Result:
    """Returns the loss with bias :data:`BIAS`, and its gradients."""
    audio, text = audio.clone().requires_grad_(), text.clone().requires_grad_()
    warmth, bias = (torch.tensor(value, dtype=audio.dtype, requires_grad=True) for value in (temperature, BIAS))
    value = loss(audio, text, warmth, bias, texts)
    value.backward()  # type: ignore[no-untyped-call]
    assert audio.grad is not None
    assert text.grad is not None
    assert warmth.grad is not None
    grad_bias = torch.zeros_like(bias) if bias.grad is None else bias.grad
    return Result(value.detach(), audio.grad, text.grad, warmth.grad, grad_bias)


def errors(ours: Result, reference: Result) -> list[float]:
    """Returns the relative norm of the difference in each field; 0 where both are 0."""
    pairs = [(one.double(), other.double()) for one, other in zip(ours, reference, strict=True)]
    return [float((one - other).norm() / other.norm()) if one.any() or other.any() else 0.0 for one, other in pairs]


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-7}
"""In float32, the result is the exact one, rounded."""

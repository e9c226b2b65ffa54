"""Tests the contrastive losses at a usual batch size, and how MuLan's differs from the decoupled and CLIP's.

The embeddings have MuLan's dimension, 128, and are drawn from fixed seeds: audio is uniform on the sphere, and a text
is its audio times 0.65, plus a vector that is uniform on the sphere, normalised, so that pairs have a mean cosine of
0.54. In batches with hubs, half a common unit vector is added to every audio, and a whole one to a tenth of the texts,
which are then similar to all audio.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mulan.objectives.contrastive import contrastive_loss, decoupled_loss

PAIRS, DIM, HUBS = 512, 128, 51
Loss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


class Result(NamedTuple):
    value: float
    gradient: torch.Tensor
    """Gradients of audio and text, [2 * PAIRS, DIM]."""


def on_the_sphere(rows: int, *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, DIM, generator=generator, dtype=torch.float64), dim=1)


def embeddings(*, hubs: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns audio and text, unit rows, float64 [PAIRS, DIM]."""
    audio = on_the_sphere(PAIRS, seed=0)
    text = normalize(0.65 * audio + on_the_sphere(PAIRS, seed=1), dim=1)
    if hubs:
        common = on_the_sphere(1, seed=2)
        audio = normalize(audio + 0.5 * common, dim=1)
        text = torch.cat([normalize(text[:HUBS] + common, dim=1), text[HUBS:]])
    return audio, text


def log_sums_of_negatives(similarity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns ln sum_{j != i} exp(S_ij) of each row, and ln sum_{j != i} exp(S_ji) of each column."""
    negatives = similarity.exp() * (1 - torch.eye(len(similarity), dtype=similarity.dtype))
    return negatives.sum(dim=1).log(), negatives.sum(dim=0).log()


def the_formula(audio: torch.Tensor, text: torch.Tensor, temperature: float) -> torch.Tensor:
    """MuLan §3.1, on the whole matrix: one logarithm of the negatives of both directions."""
    similarity = audio @ text.T / temperature
    rows, columns = log_sums_of_negatives(similarity)
    return (torch.log(rows.exp() + columns.exp()) - similarity.diagonal()).mean()


def decoupled_average(audio: torch.Tensor, text: torch.Tensor, temperature: float) -> torch.Tensor:
    """Decoupled contrastive learning (Yeh et al. 2022) in both directions: a logarithm of the negatives of each."""
    similarity = audio @ text.T / temperature
    rows, columns = log_sums_of_negatives(similarity)
    return ((rows + columns) / 2 - similarity.diagonal()).mean()


def clip(audio: torch.Tensor, text: torch.Tensor, temperature: float) -> torch.Tensor:
    """Radford et al. 2021, figure 3: classification of the partner among all, in both directions."""
    similarity, partners = audio @ text.T / temperature, torch.arange(len(audio))
    return (cross_entropy(similarity, partners) + cross_entropy(similarity.T, partners)) / 2


def with_gradient(loss: Loss, audio: torch.Tensor, text: torch.Tensor, temperature: float) -> Result:
    both = torch.cat([audio, text]).requires_grad_()
    value = loss(*both.chunk(2), temperature)
    value.backward()
    assert both.grad is not None
    return Result(value.item(), both.grad)


def cosine(one: Result, other: Result) -> float:
    return float((one.gradient * other.gradient).sum() / one.gradient.norm() / other.gradient.norm())


def relative_error(one: Result, other: Result) -> float:
    return float((one.gradient - other.gradient).norm() / other.gradient.norm())


@pytest.mark.parametrize("temperature", [0.1, 0.03])
@pytest.mark.parametrize("hubs", [False, True])
@pytest.mark.parametrize(
    ("loss", "formula"),
    [(contrastive_loss, the_formula), (decoupled_loss, decoupled_average)],
    ids=["mulan", "decoupled"],
)
def test_a_batch_of_512_pairs_has_the_formula_s_value_and_gradient_to_rounding(
    loss: Loss, formula: Loss, hubs: bool, temperature: float
) -> None:
    """Compares with autograd through the formula in float64: the differences are about 2e-16 and 2e-15."""
    rows = embeddings(hubs=hubs)
    ours, expected = (with_gradient(one, *rows, temperature) for one in (loss, formula))
    assert ours.value == pytest.approx(expected.value, rel=2e-15)
    assert relative_error(ours, expected) < 1e-14


@pytest.mark.parametrize("temperature", [0.1, 0.03])
def test_the_decoupled_average_is_less_by_ln_2_where_similarities_are_symmetric(temperature: float) -> None:
    """Compares with the decoupled average at S = S^T, where both directions have the same negatives.

    The gradients are then equal, so that the two losses train alike.
    """
    audio, _ = embeddings(hubs=False)
    ours, decoupled = (with_gradient(loss, audio, audio, temperature) for loss in (contrastive_loss, decoupled_average))
    assert ours.value - decoupled.value == pytest.approx(math.log(2), abs=1e-14)
    assert relative_error(ours, decoupled) < 1e-13


@pytest.mark.parametrize(
    ("hubs", "temperature", "excess", "one_minus_cosine"),
    [
        (False, 0.1, 0.00051, 2.36e-6),  # cosine 0.999998
        (False, 0.03, 0.0679, 0.0093),
        (True, 0.1, 0.187, 0.0170),  # cosine 0.983
        (True, 0.03, 2.46, 0.0642),
    ],
)
def test_the_decoupled_average_differs_by_hubs_and_at_low_temperatures(
    hubs: bool, temperature: float, excess: float, one_minus_cosine: float
) -> None:
    """Compares with the decoupled average: the difference is ln 2, plus ln cosh of half the gap between directions.

    The gap of a pair is that between the logarithms of its two sums of negatives, which a hub makes large.
    """
    audio, text = embeddings(hubs=hubs)
    ours, decoupled = (with_gradient(loss, audio, text, temperature) for loss in (contrastive_loss, decoupled_average))
    rows, columns = log_sums_of_negatives(audio @ text.T / temperature)
    found = ours.value - decoupled.value - math.log(2)
    assert found == pytest.approx(float(torch.log(torch.cosh((rows - columns) / 2)).mean()), abs=1e-13)
    assert found == pytest.approx(excess, rel=0.01)
    assert 1 - cosine(ours, decoupled) == pytest.approx(one_minus_cosine, rel=0.01)


def test_the_gradient_of_clip_s_loss_has_nearly_the_same_direction() -> None:
    """Compares with CLIP's loss, in which the positive is a term of the denominators, at MuLan's temperature."""
    rows = embeddings(hubs=False)
    ours, theirs = (with_gradient(loss, *rows, 0.1) for loss in (contrastive_loss, clip))
    assert cosine(ours, theirs) == pytest.approx(0.9924, abs=1e-4)

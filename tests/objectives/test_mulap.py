"""Tests MuLaP's terms against float64 loops over the formulas."""

import math
from collections.abc import Callable

import pytest
import torch

from mulan.config.objectives import LossWeightsConfig
from mulan.model.outputs import Predictions
from mulan.objectives.mulap import masked_audio_loss, masked_language_loss, matching_loss, mulap_terms

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


def random_values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


def masked_language_formula(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Computes equation 2, one token at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for row, word in zip(logits, targets.tolist(), strict=True):
        total = total - torch.log(torch.exp(row[word]) / sum(torch.exp(value) for value in row))
    return total / len(targets)


def masked_audio_formula(predictions: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Computes equation 3, one number at a time; the features are constants."""
    total = torch.zeros((), dtype=torch.float64)
    for row, true in zip(predictions, features.tolist(), strict=True):
        for value, expected in zip(row, true, strict=True):
            total = total + (value - expected) ** 2
    return total / predictions.numel()


def matching_formula(logits: torch.Tensor, matched: torch.Tensor) -> torch.Tensor:
    """Computes equation 4, one pair at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for logit, y in zip(logits, matched.tolist(), strict=True):
        score = 1 / (1 + torch.exp(-logit))
        total = total - (y * torch.log(score) + (1 - y) * torch.log(1 - score))
    return total / len(matched)


Term = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
CASES: dict[str, tuple[Term, Term, torch.Tensor, torch.Tensor]] = {
    "mlm": (masked_language_loss, masked_language_formula, random_values(5, 11), torch.tensor([0, 10, 3, 3, 7])),
    "mam": (masked_audio_loss, masked_audio_formula, random_values(4, 6), random_values(4, 6, seed=1)),
    "atm": (
        matching_loss,
        matching_formula,
        random_values(8),
        torch.tensor([1, 0, 0, 1, 1, 1, 0, 0], dtype=torch.uint8),
    ),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_the_formula(name: str, dtype: torch.dtype) -> None:
    term, formula, outputs, truth = CASES[name]
    results = []
    for function, rows in ((term, outputs.to(dtype)), (formula, outputs.to(dtype).double())):
        leaf = rows.clone().requires_grad_()
        value = function(leaf, truth.to(dtype) if truth.is_floating_point() else truth)
        value.backward()
        assert leaf.grad is not None
        results.append((value.detach().double(), leaf.grad.double()))
    for ours, expected in zip(*results, strict=True):
        assert float((ours - expected).norm()) < TOLERANCE[dtype] * float(expected.norm())


def test_half_precision_is_summed_in_float32() -> None:
    for term, formula, outputs, truth in CASES.values():
        low = outputs.bfloat16()
        value = term(low, truth.bfloat16() if truth.is_floating_point() else truth)
        assert value.dtype == torch.float32
        rounded = truth.bfloat16().double() if truth.is_floating_point() else truth
        assert value.item() == pytest.approx(formula(low.double(), rounded).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("term", "outputs", "truth"),
    [
        (masked_language_loss, torch.zeros(0, 11), torch.zeros(0, dtype=torch.int64)),
        (masked_audio_loss, torch.zeros(0, 6), torch.zeros(0, 6)),
    ],
)
def test_without_masked_items_loss_and_gradient_are_zero(
    term: Term, outputs: torch.Tensor, truth: torch.Tensor
) -> None:
    weight = torch.ones(outputs.shape[1], requires_grad=True)
    loss = term(outputs * weight, truth)
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None
    assert weight.grad.abs().max() == 0


def test_no_gradient_reaches_the_features_that_are_to_be_predicted() -> None:
    """Otherwise the encoder would learn to be predictable."""
    predictions, features = (random_values(4, 6, seed=seed).requires_grad_() for seed in (0, 1))
    masked_audio_loss(predictions, features).backward()
    assert predictions.grad is not None
    assert features.grad is None


def test_values_of_chance() -> None:
    assert masked_language_loss(torch.zeros(3, 100), torch.arange(3)).item() == pytest.approx(math.log(100))
    assert matching_loss(torch.zeros(4), torch.tensor([1, 0, 1, 1])).item() == pytest.approx(math.log(2))


def test_matching_is_a_classification_of_two_logits_of_which_ours_is_the_difference() -> None:
    """Compares with the cross-entropy of two logits, of a match and of a mismatch, and with its gradient."""
    two = random_values(64, 2).requires_grad_()
    matched = torch.arange(64) % 3 % 2
    expected = torch.nn.functional.cross_entropy(two, matched)
    one = (two[:, 1] - two[:, 0]).detach().requires_grad_()
    found = matching_loss(one, matched)
    assert found.item() == pytest.approx(expected.item(), rel=1e-15)
    (by_two,), (by_one,) = torch.autograd.grad(expected, [two]), torch.autograd.grad(found, [one])
    torch.testing.assert_close(by_two, torch.stack([-by_one, by_one], dim=1), rtol=1e-12, atol=0)


def test_only_terms_with_a_weight_are_computed() -> None:
    whole = Predictions(random_values(5, 11), random_values(4, 6), random_values(4, 6, seed=1), random_values(8))
    for names in ({"mlm"}, {"mam"}, {"atm"}, {"mlm", "atm"}, {"mlm", "mam", "atm"}):
        weights = LossWeightsConfig(contrastive=0, **dict.fromkeys(names, 0.5))
        kept = Predictions(
            whole.token_logits if "mlm" in names else None,
            whole.segments if "mam" in names else None,
            whole.segment_features if "mam" in names else None,
            whole.match_logits if "atm" in names else None,
        )
        found = mulap_terms(kept, token_targets=CASES["mlm"][3], matched=CASES["atm"][3], weights=weights)
        assert found.keys() == names
        for name, term in found.items():
            function, _, outputs, truth = CASES[name]
            torch.testing.assert_close(term, function(outputs, truth))

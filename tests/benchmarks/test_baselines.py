"""Tests the bare loop and the untiled loss against explicit sums and PyTorch's Adam."""

import numpy as np
import pytest
import torch

from mulan.benchmarks.baselines import BareLoop, untiled_loss
from mulan.benchmarks.loss import Rows, gradients, relative_difference, unit_rows
from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.model.device_batch import to_device
from mulan.objectives import tiles
from mulan.objectives.contrastive import contrastive_loss
from mulan.recipes.registry import load_recipe


def test_gradients_of_the_tiled_and_untiled_forms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 128)
    rows = unit_rows(600, "cpu")
    reference = gradients(untiled_loss, rows)
    assert relative_difference(gradients(contrastive_loss, rows), reference) < 1e-6
    assert relative_difference(Rows(reference[0], reference[1] * 1.001, reference[2]), reference) > 1e-4
    assert relative_difference(Rows(reference[0], reference[1], reference[2] * 1.001), reference) > 1e-4


def test_both_forms_leave_out_equal_texts() -> None:
    audio, text, temperature = unit_rows(40, "cpu")
    texts = torch.arange(40) // 3
    (tiled, untiled) = (loss(audio, text, temperature, texts) for loss in (contrastive_loss, untiled_loss))
    assert untiled.item() == pytest.approx(tiled.item(), rel=1e-5)
    assert untiled.item() < untiled_loss(audio, text, temperature).item() - 1e-2


def test_the_untiled_loss_equals_a_loop_over_pairs() -> None:
    """Computes MuLan's equation (1) pair by pair, with one sum over the negatives of both directions."""
    rng = np.random.default_rng(0)
    audio, text = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in rng.normal(size=(2, 5, 3)))
    temperature, total = 0.2, 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        negatives = sum(np.exp(audio[i] @ text[j] / temperature) for j in others)
        negatives += sum(np.exp(audio[j] @ text[i] / temperature) for j in others)
        total += np.log(negatives) - audio[i] @ text[i] / temperature
    rows = torch.from_numpy(audio), torch.from_numpy(text)
    ours = untiled_loss(*rows, torch.tensor(temperature, dtype=torch.float64))
    assert ours.item() == pytest.approx(total / 5, rel=1e-9)


def test_the_bare_loop_applies_adam_to_the_mean_gradient_of_its_micro_batches() -> None:
    """Compares with PyTorch's Adam on a copy of the model; dropout, the only randomness, has the same seed."""
    settings = ["scale.workers=1", "optim.max_grad_norm=1e9", "optim.warmup_steps=0"]
    recipe = load_recipe("m_resnet50_audioset_miniature", settings)
    batches = [synthetic_batch(recipe, step=0, micro_batch=number, tokens=0) for number in range(2)]
    model, twin = model_to_measure(recipe), model_to_measure(recipe).train()
    torch.manual_seed(1)
    loss = BareLoop(model, recipe, torch.device("cpu"))(batches)
    optimizer = torch.optim.Adam(twin.parameters(), lr=recipe.optim.lr, eps=recipe.optim.epsilon)
    torch.manual_seed(1)
    for batch in batches:
        on_device = to_device(batch, torch.device("cpu"), text_groups=1)
        logits = twin(*on_device.inputs)
        expected_loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.from_numpy(batch.tags).float()
        )
        (expected_loss / 2).backward()
    optimizer.step()
    assert loss == pytest.approx(expected_loss.item(), rel=1e-5)
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=name)

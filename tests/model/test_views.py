"""Tests models of views: unit rows, augmentation, gradients of all parameters, precision, and no synchronisation."""

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.model.views import ViewModel
from mulan.recipes.registry import load_recipe
from mulan.tasks.views import ViewsTask
from tests.model.small import noise
from tests.model.waits import HostWaits


def small_semisupcon(*settings: str) -> Recipe:
    """Returns a recipe with three views of 0.2 s of each of four recordings."""
    small = (
        "data.window_s=0.2",
        "semisupcon.views=3",
        "semisupcon.head_hidden_size=10",
        "semisupcon.head_dim=6",
        "audio_tower.stem_channels=4",
        "audio_tower.block_channels=[4, 6]",
        "batch.pairs_per_micro_batch=4",
    )
    return load_recipe("semisupcon_miniature", [*small, *settings])


@pytest.fixture
def views() -> ViewModel:
    torch.manual_seed(0)
    return ViewsTask(small_semisupcon()).build_model()


@pytest.fixture
def waveform() -> torch.Tensor:
    (waveform,) = noise(small_semisupcon()).inputs
    return waveform


def test_views_are_unit_rows_of_the_projection_head(views: ViewModel, waveform: torch.Tensor) -> None:
    views.eval()
    audio, text, temperature, embedded, bias = views(waveform)
    assert audio is text is temperature is bias is None
    assert embedded.shape == (4, 3, 6)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(4, 3))
    for recording in range(4):
        for view in range(3):
            row = views.view_head.layers(views.audio_encoder(waveform[recording, view][None])[0])
            torch.testing.assert_close(embedded[recording, view], row / row.norm(), atol=1e-5, rtol=1e-4)


def test_training_augments_with_random_numbers_of_the_default_generator(
    views: ViewModel, waveform: torch.Tensor
) -> None:
    views.train()
    torch.manual_seed(3)
    first, second = views(waveform).views, views(waveform).views
    torch.manual_seed(3)
    assert torch.equal(views(waveform).views, first)
    assert not torch.equal(first, second)
    views.eval()
    assert torch.equal(views(waveform).views, views(waveform).views)


def test_the_views_of_a_recording_are_augmented_together() -> None:
    always = ", ".join(f"{step}_probability=1" for step in ("gain", "polarity", "noise"))
    recipe = small_semisupcon(
        f"semisupcon.augmentation={{probability=0.5, {always}}}", "batch.pairs_per_micro_batch=64"
    )
    (waveform,) = noise(recipe).inputs
    encoder = ViewsTask(recipe).build_model().train().audio_encoder
    assert encoder.augmentation is not None
    augmented: list[torch.Tensor] = []
    encoder.augmentation.register_forward_hook(lambda module, inputs, output: augmented.append(output))
    torch.manual_seed(0)
    encoder(waveform)
    is_changed = (augmented[0] != waveform / 32768).any(dim=2)
    assert is_changed.shape == (64, 3)
    assert torch.equal(is_changed.all(dim=1), is_changed.any(dim=1))
    assert 16 < is_changed.all(dim=1).sum() < 48


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_parameter_gets_a_gradient_without_synchronising(precision: str, waveform: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = ViewsTask(small_semisupcon(f"train.precision={precision}")).build_model()
    with HostWaits() as waits:
        embedded = model(waveform).views
        (embedded * torch.randn_like(embedded)).sum().backward()
    assert waits.found == []
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert torch.isfinite(parameter.grad).all(), name


def test_bf16_is_for_the_tower_only(views: ViewModel, waveform: torch.Tensor) -> None:
    rounded = ViewsTask(small_semisupcon("train.precision=bf16")).build_model().eval()
    rounded.load_state_dict(views.eval().state_dict())
    seen: dict[str, torch.dtype] = {}
    for name, module in rounded.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
            part = name.partition(".")[0]
            module.register_forward_hook(lambda _, args, output, part=part: seen.update({part: output.dtype}))
    computed, expected = rounded(waveform).views, views(waveform).views
    assert seen == {"audio_encoder": torch.bfloat16, "view_head": torch.float32}
    assert computed.dtype == torch.float32
    assert 0.99 < (computed * expected).sum(dim=-1).min() < 1 - 1e-6


def test_no_parameter_is_warm_started_without_a_pretrained_tower(views: ViewModel) -> None:
    assert list(views.warm_started_parameters()) == []

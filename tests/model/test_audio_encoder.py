"""Tests the audio encoder against its front end and tower, its masks in training, and its precision."""

import pytest
import torch

from mulan.config.audio import KaldiFrontEndConfig
from mulan.config.recipe import Recipe
from mulan.model.audio.front_end import KaldiLogMel, LogMel
from mulan.tasks.audio_encoder import encoder_from_recipe

KALDI = KaldiFrontEndConfig(mel_channels=20, frequency_mask_bins=5, time_mask_frames=10)


@pytest.fixture
def waveform() -> torch.Tensor:
    return torch.randint(-20_000, 20_000, (4, 8000), dtype=torch.int16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kaldi", [False, True])
def test_is_the_tower_over_the_spectrogram_of_the_recipe(recipe: Recipe, kaldi: bool, waveform: torch.Tensor) -> None:
    section = KALDI if kaldi else recipe.front_end
    encoder = encoder_from_recipe(recipe.replace(front_end=section)).eval()
    front_end = KaldiLogMel(KALDI, sample_rate_hz=16_000) if kaldi else LogMel(recipe.front_end, sample_rate_hz=16_000)
    expected = encoder.tower(front_end(waveform))
    assert expected.shape == (4, encoder.output_dim)
    assert torch.equal(encoder(waveform), expected)


def test_spectrograms_are_masked_in_training_only(recipe: Recipe, waveform: torch.Tensor) -> None:
    encoder = encoder_from_recipe(recipe).train()
    seen: list[torch.Tensor] = []
    encoder.tower.register_forward_hook(lambda _, args, output: seen.append(args[0]))
    for mode in (True, False):
        encoder.train(mode)(waveform)
    whole = encoder.front_end(waveform)
    masked = seen[0] != whole
    assert masked.any()
    assert (seen[0][masked] == 0).all()
    assert torch.equal(seen[1], whole)


def test_bf16_is_for_the_tower_only(recipe: Recipe, waveform: torch.Tensor) -> None:
    rounded = encoder_from_recipe(recipe.replace({"train.precision": "bf16"})).eval()
    exact = encoder_from_recipe(recipe).eval()
    exact.load_state_dict(rounded.state_dict())
    inside: set[torch.dtype] = set()
    for module in rounded.tower.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda _, args, output: inside.add(output.dtype))
    vectors, expected = rounded(waveform), exact(waveform)
    assert inside == {torch.bfloat16}
    assert vectors.dtype == expected.dtype == torch.float32
    assert not torch.equal(vectors, expected)
    assert torch.cosine_similarity(vectors, expected).min() > 0.999

"""Tests musicnn against its formulas, and the size of the default."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from mulan.config.audio import MusicnnTowerConfig
from mulan.model.towers.musicnn import MusicnnAudioTower

Weights = dict[str, np.ndarray]


def random_tower(section: MusicnnTowerConfig, *, mel_channels: int) -> MusicnnAudioTower:
    """Returns a float64 tower in evaluation mode whose running statistics are not the initial ones."""
    torch.manual_seed(0)
    tower = MusicnnAudioTower(section, mel_channels=mel_channels).double().eval()
    for norm in (module for module in tower.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.2, 2.0)
        if norm.affine:
            nn.init.uniform_(norm.weight, -1.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return tower


def normed(values: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Normalises [channels, ...] by the running statistics of each channel."""
    mean, variance, scale, shift = (
        weights.get(f"{name}.{part}", neutral).reshape(-1, *(1 for _ in values.shape[1:]))
        for part, neutral in (
            ("running_mean", None),
            ("running_var", None),
            ("weight", np.ones(1)),
            ("bias", np.zeros(1)),
        )
    )
    return (values - mean) / np.sqrt(variance + 1e-5) * scale + shift


def correlated(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlates [rows, frames] with [height, length], zero-padded in time, to [rows - height + 1, frames]."""
    half = kernel.shape[1] // 2
    return correlate2d(np.pad(image, ((0, 0), (half, half))), kernel, mode="valid")[:, : image.shape[1]]


def vertical(image: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Maps [mel_channels, frames] to [channels, frames]."""
    planes = [correlated(image, kernel[0]) for kernel in weights[f"{name}.convolution.weight"]]
    return np.maximum(normed(np.stack(planes), weights, f"{name}.norm"), 0).max(axis=1)


def temporal(sequence: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Maps [inputs, frames] to [channels, frames]."""
    rows = [
        sum(correlated(row[None], kernel[None])[0] for row, kernel in zip(sequence, kernels, strict=True))
        for kernels in weights[f"{name}.convolution.weight"]
    ]
    return np.maximum(normed(np.stack(rows), weights, f"{name}.norm"), 0)


def reference(spectrogram: np.ndarray, weights: Weights, section: MusicnnTowerConfig) -> np.ndarray:
    """Computes the tower in float64 loops, [mel_channels, frames] to [output_dim]."""
    image = normed(spectrogram[None], weights, "norm")[0]
    found = [vertical(image, weights, f"vertical.{i}") for i in range(len(section.vertical_heights))]
    envelope = image.mean(axis=0, keepdims=True)
    found += [temporal(envelope, weights, f"horizontal.{i}") for i in range(len(section.horizontal_frames))]
    kept = [np.concatenate(found)]
    for layer in range(section.dense_layers):
        output = temporal(kept[-1], weights, f"dense.{layer}")
        kept.append(output + kept[-1] if layer > 0 else output)
    channels = np.concatenate(kept)
    return np.concatenate([channels.max(axis=1), channels.mean(axis=1)])


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        ({}, 19),
        ({"vertical_frames": 4, "horizontal_frames": (6, 5, 2)}, 12),  # even lengths
        ({"vertical_heights": (1.0, 0.1), "dense_layers": 1}, 19),  # filters of all mel channels and of one
        ({}, 2),  # fewer frames than any filter has
    ],
)
def test_is_the_network_by_its_formulas(changes: dict[str, object], frames: int) -> None:
    section = MusicnnTowerConfig(
        vertical_channels=3,
        vertical_frames=5,
        horizontal_channels=2,
        horizontal_frames=(9, 33),
        dense_channels=4,
    ).replace(changes)
    tower = random_tower(section, mel_channels=11)
    weights = {name: tensor.numpy() for name, tensor in tower.state_dict().items()}
    spectrogram = np.random.default_rng(1).normal(0, 1, (3, 11, frames))
    expected = np.stack([reference(one, weights, section) for one in spectrogram])
    with torch.inference_mode():
        computed = tower(torch.from_numpy(spectrogram))
    assert computed.shape == (3, tower.output_dim)
    np.testing.assert_allclose(computed.numpy(), expected, atol=1e-12)


def test_vertical_filters_span_their_shares_of_the_mel_channels_rounded_down() -> None:
    tower = MusicnnAudioTower(MusicnnTowerConfig(), mel_channels=96)
    assert [branch.convolution.kernel_size for branch in tower.vertical] == [(67, 7), (38, 7)]


def test_the_default_has_1506_features_and_its_known_size() -> None:
    tower = MusicnnAudioTower(MusicnnTowerConfig(), mel_channels=96)
    assert tower.output_dim == 1506
    channels = 2 * 204 + 3 * 51 + 3 * 64  # of convolutions, each with a norm's scale and shift
    expected = 204 * (67 + 38) * 7 + 51 * (129 + 65 + 33) + 64 * (561 + 64 + 64) * 7 + 2 * channels
    assert sum(parameter.numel() for parameter in tower.parameters()) == expected


def test_the_default_keeps_the_frames_and_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    tower = MusicnnAudioTower(MusicnnTowerConfig(), mel_channels=96).train()
    lengths: set[int] = set()
    for layer in (*tower.vertical, *tower.horizontal, *tower.dense):
        layer.register_forward_hook(lambda module, args, output: lengths.add(output.shape[-1]))
    output = tower(torch.randn(2, 96, 50))
    assert output.shape == (2, 1506)
    assert lengths == {50}
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name

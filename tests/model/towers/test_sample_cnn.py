"""Tests SampleCNN against its formulas, and the size of the default."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from mulan.config.audio import SampleCnnTowerConfig
from mulan.model.towers.sample_cnn import SampleCnnAudioTower

SMALL = SampleCnnTowerConfig(stem_channels=3, block_channels=(4, 5, 6))


def random_tower(section: SampleCnnTowerConfig) -> SampleCnnAudioTower:
    """Returns a float64 tower in evaluation mode whose running statistics are not the initial ones."""
    torch.manual_seed(0)
    tower = SampleCnnAudioTower(section).double().eval()
    for norm in (module for module in tower.modules() if isinstance(module, nn.BatchNorm1d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.2, 2.0)
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return tower


def convolved(sequence: np.ndarray, convolution: nn.Conv1d, norm: nn.BatchNorm1d) -> np.ndarray:
    """Applies three-tap filters, batch norm and ReLU, [inputs, samples] to [channels, samples - 2]."""
    rows = []
    for channel, kernels in enumerate(convolution.weight.detach().numpy()):
        row = sum(np.correlate(values, kernel, "valid") for values, kernel in zip(sequence, kernels, strict=True))
        mean, variance, scale, shift = (
            part[channel].item() for part in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        rows.append(np.maximum((row - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0))
    return np.stack(rows)


def reference(waveform: np.ndarray, tower: SampleCnnAudioTower) -> np.ndarray:
    """Computes the tower in float64 loops, [samples] to [output_dim]."""
    convolutions = [module for module in tower.modules() if isinstance(module, nn.Conv1d)]
    norms = [module for module in tower.modules() if isinstance(module, nn.BatchNorm1d)]
    sequence = convolved(waveform[None], convolutions[0], norms[0])[:, ::3]
    for convolution, norm in zip(convolutions[1:-1], norms[1:-1], strict=True):
        sequence = convolved(np.pad(sequence, ((0, 0), (1, 1))), convolution, norm)
        whole = sequence.shape[1] // 3
        sequence = sequence[:, : 3 * whole].reshape(-1, whole, 3).max(axis=2)
    return convolved(np.pad(sequence, ((0, 0), (1, 1))), convolutions[-1], norms[-1]).mean(axis=1)


@pytest.mark.parametrize("samples", [81, 100, 4 * 81 + 2])  # the blocks leave 1, 1 and 4 values
def test_is_the_network_by_its_formulas(samples: int) -> None:
    tower = random_tower(SMALL)
    waveforms = np.random.default_rng(1).normal(0, 1, (3, samples))
    expected = np.stack([reference(waveform, tower) for waveform in waveforms])
    with torch.inference_mode():
        computed = tower(torch.from_numpy(waveforms))
    assert computed.shape == (3, tower.output_dim) == (3, 6)
    np.testing.assert_allclose(computed.numpy(), expected, atol=1e-12)


def test_the_default_is_the_published_network_without_biases_that_norms_cancel() -> None:
    tower = SampleCnnAudioTower(SampleCnnTowerConfig())
    layers: list[tuple[int, ...]] = []
    for module in tower.network.modules():
        if isinstance(module, nn.Conv1d):
            layers.append((*module.weight.shape, *module.stride))
        if isinstance(module, nn.MaxPool1d):
            layers.append((module.kernel_size,))
    channels = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512)
    blocks = [layer for before, after in itertools.pairwise(channels) for layer in ((after, before, 3, 1), (3,))]
    assert layers == [(128, 1, 3, 3), *blocks, (512, 512, 3, 1)]
    biases = sum(channels) + 512
    assert sum(parameter.numel() for parameter in tower.parameters()) == 2_368_512 - biases


def test_the_default_makes_512_features_of_one_value_of_59535_samples() -> None:
    torch.manual_seed(0)
    tower = SampleCnnAudioTower(SampleCnnTowerConfig()).train()
    shapes: list[torch.Size] = []
    for stage in tower.network:
        stage.register_forward_hook(lambda module, args, output: shapes.append(output.shape))

    output = tower(torch.randn(2, 59_535))
    lengths = [19_845 // 3**block for block in range(10)]
    assert [shape[2] for shape in shapes] == [*lengths, 1]
    assert shapes[-2:] == [(2, 512, 1)] * 2
    assert output.shape == (2, tower.output_dim) == (2, 512)
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name

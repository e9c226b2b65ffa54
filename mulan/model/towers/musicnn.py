"""musicnn: a convolutional network over mel spectrograms (Pons et al. 2016; MuLaP §3.1)."""

import torch
from torch import Tensor, nn

from mulan.config.audio import MusicnnTowerConfig

_DENSE_FRAMES = 7
"""Length of the dense layers' convolutions in frames."""


class MusicnnAudioTower(nn.Module):
    """Vertical (timbral) and horizontal (temporal) filters, followed by dense convolutions and two poolings over time.

    The outputs of the filters and of all dense layers, 753 channels by default, are concatenated; the features are the
    maximum and the mean of each channel over time. As in the code of MuLaP's authors, a batch norm and a ReLU follow
    each convolution; in that of Pons et al. the ReLU comes first. Windows may have any number of frames.
    """

    def __init__(self, section: MusicnnTowerConfig, *, mel_channels: int) -> None:
        """Builds the tower for ``mel_channels``, of which each vertical filter spans the fraction in the section."""
        super().__init__()
        # not affine: the filters can scale and shift
        self.norm = nn.BatchNorm2d(1, affine=False)
        self.vertical = nn.ModuleList(
            _Vertical(section.vertical_channels, int(height * mel_channels), section.vertical_frames)
            for height in section.vertical_heights
        )
        self.horizontal = nn.ModuleList(
            _Temporal(1, section.horizontal_channels, length) for length in section.horizontal_frames
        )
        filters = len(self.vertical) * section.vertical_channels + len(self.horizontal) * section.horizontal_channels
        self.dense = nn.ModuleList(
            _Temporal(section.dense_channels if layer else filters, section.dense_channels, _DENSE_FRAMES)
            for layer in range(section.dense_layers)
        )
        self.output_dim: int = 2 * (filters + len(self.dense) * section.dense_channels)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Maps float32 [B, mel_channels, frames] to [B, output_dim]: all maxima, then all means."""
        channels = self._channels(spectrogram)
        return torch.cat([channels.amax(dim=2), channels.mean(dim=2)], dim=1)

    def _channels(self, spectrogram: Tensor) -> Tensor:
        """Returns the outputs of the filters and of the dense layers, [B, output_dim / 2, frames]."""
        image = self.norm(spectrogram.unsqueeze(1))
        envelope = image.mean(dim=2)
        filtered = torch.cat(
            [*(branch(image) for branch in self.vertical), *(branch(envelope) for branch in self.horizontal)], dim=1
        )
        outputs = [filtered]
        for number, layer in enumerate(self.dense):
            output = layer(outputs[-1])
            outputs.append(output + outputs[-1] if number else output)
        return torch.cat(outputs, dim=1)


class _Vertical(nn.Module):
    """A convolution over mel channels and time with the maximum over mel channels, invariant to pitch."""

    def __init__(self, channels: int, height: int, length: int) -> None:
        super().__init__()
        # no bias: the batch norm would cancel it, and its gradient would be rounding noise
        self.convolution = nn.Conv2d(1, channels, (height, length), padding=(0, length // 2), bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """Maps [B, 1, mel_channels, frames] to [B, channels, frames]."""
        convolved = self.convolution(image)[..., : image.shape[-1]]  # with an even length, padding adds one frame
        activated: Tensor = self.activation(self.norm(convolved))
        return activated.amax(dim=2)  # torch's adaptive max-pooling has no deterministic backward on GPUs


class _Temporal(nn.Module):
    """A convolution along time that keeps the number of frames."""

    def __init__(self, inputs: int, channels: int, length: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, channels, length, padding=length // 2, bias=False)  # as above
        self.norm = nn.BatchNorm1d(channels)
        self.activation = nn.ReLU()

    def forward(self, sequence: Tensor) -> Tensor:
        """Maps [B, inputs, frames] to [B, channels, frames]."""
        convolved = self.convolution(sequence)[..., : sequence.shape[-1]]
        activated: Tensor = self.activation(self.norm(convolved))
        return activated

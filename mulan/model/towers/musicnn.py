"""musicnn: a convolutional network over mel spectrograms (Pons et al. 2016; MuLaP §3.1)."""

import torch
from torch import Tensor, nn

from mulan.config.audio import MusicnnTowerConfig

_DENSE_FRAMES = 7
"""Length of the convolutions on top."""


class MusicnnAudioTower(nn.Module):
    """Filters as tall as timbres and as long as rhythms, dense convolutions on top, two poolings over time.

    The filters' outputs and those of all dense layers keep the frames; they are 753 channels by default, each with its
    maximum and its mean over time in the vector. A batch norm follows every ReLU, as in its authors' code: in front of
    it, no feature would be negative, and those of all windows would be much alike. Windows may have any number of
    frames.
    """

    def __init__(self, section: MusicnnTowerConfig, *, mel_channels: int) -> None:
        """``mel_channels``: of the spectrograms; the vertical filters span shares of them."""
        super().__init__()
        # no scale and shift, which the filters have
        self.norm = nn.BatchNorm2d(1, affine=False)
        self.vertical = nn.ModuleList(
            _Vertical(section.vertical_channels, int(height * mel_channels), section.vertical_frames)
            for height in section.vertical_heights
        )
        self.horizontal = nn.ModuleList(
            _Temporal(1, section.horizontal_channels, length) for length in section.horizontal_frames
        )
        found = len(self.vertical) * section.vertical_channels + len(self.horizontal) * section.horizontal_channels
        self.dense = nn.ModuleList(
            _Temporal(section.dense_channels if layer else found, section.dense_channels, _DENSE_FRAMES)
            for layer in range(section.dense_layers)
        )
        self.output_dim: int = 2 * (found + len(self.dense) * section.dense_channels)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """float32 [B, mel_channels, frames] to [B, output_dim]: all maxima, then all means."""
        channels = self._channels(spectrogram)
        return torch.cat([channels.amax(dim=2), channels.mean(dim=2)], dim=1)

    def _channels(self, spectrogram: Tensor) -> Tensor:
        """[B, mel_channels, frames] to [B, output_dim / 2, frames]: what the filters find, then the dense layers."""
        image = self.norm(spectrogram.unsqueeze(1))
        envelope = image.mean(dim=2)
        found = torch.cat(
            [*(branch(image) for branch in self.vertical), *(branch(envelope) for branch in self.horizontal)], dim=1
        )
        kept = [found]
        for number, layer in enumerate(self.dense):
            output = layer(kept[-1])
            kept.append(output + kept[-1] if number else output)
        return torch.cat(kept, dim=1)


class _Vertical(nn.Module):
    """Timbres wherever they stand: a tall convolution and its maximum over the mel channels that it may begin at."""

    def __init__(self, channels: int, height: int, length: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, channels, (height, length), padding=(0, length // 2))
        self.activation = nn.ReLU()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 1, mel_channels, frames] to [B, channels, frames]."""
        convolved = self.convolution(image)[..., : image.shape[-1]]  # an even length gives a frame too many
        normalised: Tensor = self.norm(self.activation(convolved))
        return normalised.amax(dim=2)  # on GPUs torch's adaptive max-pool has no deterministic backward


class _Temporal(nn.Module):
    """A convolution along time that keeps the number of frames."""

    def __init__(self, inputs: int, channels: int, length: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, channels, length, padding=length // 2)
        self.activation = nn.ReLU()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, sequence: Tensor) -> Tensor:
        """[B, inputs, frames] to [B, channels, frames]."""
        convolved = self.convolution(sequence)[..., : sequence.shape[-1]]
        normalised: Tensor = self.norm(self.activation(convolved))
        return normalised

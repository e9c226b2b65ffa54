"""SampleCNN: a convolutional network over the waveform (Lee et al. 2017), SemiSupCon's backbone."""

import itertools

from torch import Tensor, nn

from mulan.config.audio import SampleCnnTowerConfig


class SampleCnnAudioTower(nn.Module):
    """A convolution with stride 3, blocks that each downsample by 3, a last convolution, and the mean over the frames.

    By default it is the network of the code that Guinot et al. 2024 published: the 3^9 network of Lee et al. 2017,
    whose last convolution has length 3 instead of 1, without the classifier. That network has 2,368,512 weights, 2,944
    of them biases of convolutions, which batch norm cancels; they are left out here. Windows may have any number of
    samples from 59,049 (3^10); those of Guinot et al. 2024 have 59,535 samples at 22,050 Hz, which leave one frame.
    """

    def __init__(self, section: SampleCnnTowerConfig) -> None:
        super().__init__()
        self.output_dim: int = section.block_channels[-1]
        stem = _convolution(1, section.stem_channels, stride=3)
        pairs = itertools.pairwise((section.stem_channels, *section.block_channels))
        blocks = (
            nn.Sequential(_convolution(inputs, channels, padding=1), nn.MaxPool1d(3)) for inputs, channels in pairs
        )
        last = _convolution(self.output_dim, self.output_dim, padding=1)
        self.network = nn.Sequential(stem, *blocks, last)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps float32 [B, samples] to [B, output_dim]."""
        output: Tensor = self.network(waveform.unsqueeze(1))
        return output.mean(dim=2)


def _convolution(inputs: int, channels: int, *, stride: int = 1, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        # no bias: the batch norm would cancel it, and its gradient would be rounding noise
        nn.Conv1d(inputs, channels, 3, stride=stride, padding=padding, bias=False),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
    )

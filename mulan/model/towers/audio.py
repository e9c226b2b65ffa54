"""Audio towers, which map a spectrogram or a waveform to one vector (MuLan §3.2)."""

from functools import partial

import torch
from torch import Tensor, nn
from transformers import ASTConfig, ASTModel, ResNetConfig, ResNetModel

from mulan.config.audio import (
    AstTowerConfig,
    MusicnnTowerConfig,
    ResNetTowerConfig,
    SampleCnnTowerConfig,
)
from mulan.model.towers.musicnn import MusicnnAudioTower
from mulan.model.towers.pretrained_networks import ATTENTION, drop_key_biases
from mulan.model.towers.sample_cnn import SampleCnnAudioTower

_ONEDNN_BLOCK = 16
"""Minimum number of input channels of a strided 1x1 convolution in channels-last format on CPUs. With fewer, oneDNN
writes past its workspace and corrupts memory: https://github.com/uxlfoundation/oneDNN/issues/6035"""


class ResNetAudioTower(nn.Module):
    """A residual network that averages its output over frequency and time (M-Resnet).

    Its input is the spectrogram as an image with one channel.
    """

    def __init__(self, section: ResNetTowerConfig) -> None:
        super().__init__()
        self.output_dim: int = section.stage_channels[-1]
        self.network = ResNetModel(
            ResNetConfig(
                num_channels=1,
                embedding_size=section.stem_channels,
                hidden_sizes=list(section.stage_channels),
                depths=list(section.stage_depths),
                layer_type=section.layer,
            )
        )
        stem = self.network.embedder.embedder.convolution
        stem.stride = (section.stem_stride, section.stem_stride)  # transformers always sets 2
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.in_channels < _ONEDNN_BLOCK:
                module.register_forward_pre_hook(partial(_subsample, module.stride))
                module.stride = (1, 1)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Maps float32 [B, mel_channels, frames] to [B, output_dim]."""
        # CPU kernels and tensor cores use channels last; all convolutions preserve the memory format of their input
        image = spectrogram.unsqueeze(1).clone(memory_format=torch.channels_last)
        pooled: Tensor = self.network(image).pooler_output
        return pooled.flatten(1)


def _subsample(stride: tuple[int, ...], module: nn.Module, image: tuple[Tensor]) -> Tensor:
    """Returns the pixels that a 1x1 convolution with the given stride reads."""
    return image[0][:, :, :: stride[0], :: stride[1]]


class AstAudioTower(nn.Module):
    """An Audio Spectrogram Transformer, whose output is that at the [CLS] position (Gong et al. 2021, M-AST)."""

    def __init__(self, section: AstTowerConfig, *, mel_channels: int, frames: int) -> None:
        """Builds the tower with position embeddings for spectrograms of shape [B, mel_channels, frames] only."""
        super().__init__()
        self.output_dim: int = section.hidden_size
        config = ASTConfig(
            hidden_size=section.hidden_size,
            num_hidden_layers=section.layers,
            num_attention_heads=section.heads,
            intermediate_size=section.feed_forward_size,
            hidden_dropout_prob=section.dropout,
            attention_probs_dropout_prob=section.dropout,
            patch_size=section.patch_size,
            frequency_stride=section.patch_stride,
            time_stride=section.patch_stride,
            max_length=frames,
            num_mel_bins=mel_channels,
            attn_implementation=ATTENTION,
        )
        self.network = ASTModel(config)
        drop_key_biases(self.network)
        embeddings = self.network.embeddings
        for parameter in (embeddings.cls_token, embeddings.distillation_token, embeddings.position_embeddings):
            # transformers initialises these to zero, where the first layer norm multiplies gradients by a million
            nn.init.trunc_normal_(parameter, std=config.initializer_range)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Maps float32 [B, mel_channels, frames] to [B, output_dim]."""
        output: Tensor = self.network(spectrogram.mT).last_hidden_state
        return output[:, 0]


TowerConfig = ResNetTowerConfig | AstTowerConfig | MusicnnTowerConfig | SampleCnnTowerConfig
"""Sections of the towers that mulan defines itself, other than a checkpoint's network."""

AudioTower = ResNetAudioTower | AstAudioTower | MusicnnAudioTower | SampleCnnAudioTower


def audio_tower(section: TowerConfig, *, mel_channels: int, frames: int) -> AudioTower:
    """Builds the audio tower of a recipe, other than a checkpoint's network, with randomly initialised weights.

    Args:
        mel_channels, frames: Shape of the input spectrograms [B, mel_channels, frames]; ignored for SampleCNN, whose
            input is the waveform.
    """
    if isinstance(section, SampleCnnTowerConfig):
        return SampleCnnAudioTower(section)
    if isinstance(section, MusicnnTowerConfig):
        return MusicnnAudioTower(section, mel_channels=mel_channels)
    if isinstance(section, AstTowerConfig):
        return AstAudioTower(section, mel_channels=mel_channels, frames=frames)
    return ResNetAudioTower(section)

"""The audio encoder: augmentation, front end, SpecAugment and audio tower (MuLan §3.2)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from mulan.config import audio
from mulan.config.audio import MelFrontEndConfig, PretrainedFrontEndConfig, PretrainedTowerConfig
from mulan.config.augmentation import AugmentationConfig
from mulan.model.audio.augmentation import WaveformAugmentation
from mulan.model.audio.extractors import extractor_front_end
from mulan.model.audio.front_end import SpecAugment
from mulan.model.audio.front_end import front_end as build_front_end
from mulan.model.towers.audio import AudioTower
from mulan.model.towers.audio import audio_tower as build_audio_tower
from mulan.model.towers.audio_checkpoint import AudioCheckpoint
from mulan.model.towers.pretrained_audio import PretrainedAudioTower
from mulan.model.towers.text import TextTower

Precision = Literal["float32", "bf16"]


def tower_autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Returns a context in which ``bf16`` runs matrix products and convolutions in bfloat16; weights stay float32."""
    # no cache of cast weights: each is used once, and ZeRO stage 3 frees its storage after its layer
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


class AudioEncoder(nn.Module):
    """Computes pooled features from waveforms. Weights and front end are float32 in any precision."""

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        window_samples: int,
        front_end: audio.FrontEndConfig,
        audio_tower: audio.AudioTowerConfig,
        checkpoint: AudioCheckpoint | None = None,
        augmentation: AugmentationConfig | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Initialises all weights except a checkpoint's from torch's default generator.

        ``audio_tower.pretrained`` is not loaded.

        Args:
            sample_rate_hz: Sample rate of the waveforms.
            window_samples: Length of the waveforms in samples.
            checkpoint: Network and feature extractor of a ``PretrainedTowerConfig``; None for other towers.
            augmentation: Waveform augmentation, applied in training only; None disables it.
            precision: ``bf16`` runs the tower under autocast.
        """
        super().__init__()
        self.augmentation = WaveformAugmentation(augmentation, sample_rate_hz=sample_rate_hz) if augmentation else None
        self.checkpoint = checkpoint
        self.spec_augment = SpecAugment(front_end) if isinstance(front_end, MelFrontEndConfig) else nn.Identity()
        self.front_end: nn.Module
        self.tower: AudioTower | PretrainedAudioTower
        if isinstance(audio_tower, PretrainedTowerConfig):
            assert checkpoint is not None
            self.front_end = extractor_front_end(checkpoint.extractor)
            self.tower = PretrainedAudioTower(
                checkpoint.network, audio_tower, front_end=self.front_end, window_samples=window_samples
            )
        else:
            assert not isinstance(front_end, PretrainedFrontEndConfig)
            own_front_end = self.front_end = build_front_end(front_end, sample_rate_hz=sample_rate_hz)
            self.tower = build_audio_tower(
                audio_tower,
                mel_channels=front_end.mel_channels if isinstance(front_end, MelFrontEndConfig) else 0,
                frames=own_front_end.frames(window_samples),
            )
        self.output_dim: int = self.tower.output_dim
        self._precision: Precision = precision
        self._warm_started = bool(audio_tower.pretrained)

    def warm_started_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the pretrained parameters of the tower: those of a checkpoint's network, or all if warm-started."""
        if isinstance(self.tower, PretrainedAudioTower):
            yield from self.tower.network.parameters()
        elif self._warm_started:
            yield from self.tower.parameters()

    def forward(self, waveform: Tensor) -> Tensor:
        """Encodes waveforms.

        Args:
            waveform: int16 or float in [-1, 1], [m, views, window_samples] for several views of m recordings, or
                [m, window_samples].

        Returns:
            float32 [m, views, output_dim] or [m, output_dim].
        """
        if self.augmentation is not None:
            waveform = self.augmentation(waveform)
        spectrogram = self.spec_augment(self.front_end(waveform.flatten(0, -2)))
        with tower_autocast(waveform.device, self._precision):
            pooled: Tensor = self.tower(spectrogram)
        return pooled.float().reshape(*waveform.shape[:-1], -1)


class TrainedModel(nn.Module):
    """The base class of trained models: an audio encoder and, in some of them, a text tower."""

    audio_encoder: AudioEncoder

    def warm_started_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the parameters with pretrained initial values, those of text and of warm-started audio towers."""
        for module in self.children():
            if isinstance(module, TextTower):
                yield from module.parameters()
            elif isinstance(module, AudioEncoder):
                yield from module.warm_started_parameters()

    def compile_towers(self) -> None:
        """Compiles the audio tower and the text encoder in place, lazily; the names of their weights do not change.

        Random numbers remain torch's own: gradient caching runs a micro-batch twice and needs the same dropout, but the
        compiler's random numbers would differ between forward passes with and without gradient.
        """
        options = {"fallback_random": True}
        for module in self.modules():
            if isinstance(module, AudioEncoder):
                module.tower.compile(options=options)
            elif isinstance(module, TextTower):
                module.encoder.compile(options=options)

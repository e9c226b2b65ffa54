"""The joint model: two towers that end in the same space of unit vectors (MuLan §3.1)."""

from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mulan.config import sections
from mulan.config.recipe import Recipe
from mulan.model.audio_towers import audio_tower as build_audio_tower
from mulan.model.front_end import LogMel, SpecAugment
from mulan.model.text_tower import TextTower

Precision = Literal["float32", "bf16"]


class Embeddings(NamedTuple):
    """What the objective sees of m pairs."""

    audio: Tensor
    """float32 [m, views, d], unit rows."""
    text: Tensor
    """float32 [m, d], unit rows."""
    temperature: Tensor
    """float32 scalar in (0, 1)."""


class Temperature(nn.Module):
    """The trainable temperature (MuLan §3.1), kept in (0, 1) by a sigmoid.

    A module of its own, so that ZeRO stage 3 gathers its parameter wherever it is used.
    """

    _MARGIN = 1e-6
    """In float32 the sigmoid itself reaches 1 at 17, and at -104 a 0 that nothing can be divided by."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor([initial])))

    def forward(self) -> Tensor:
        return self.logit.squeeze().sigmoid().clamp(self._MARGIN, 1 - self._MARGIN)


class JointModel(nn.Module):
    """Waveforms and token ids to unit vectors. Weights, front end and normalisation are float32 in any precision."""

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        window_samples: int,
        front_end: sections.FrontEnd,
        audio_tower: sections.AudioTower,
        text_tower: TextTower,
        embedding_dim: int,
        temperature_init: float,
        precision: Precision = "float32",
    ) -> None:
        """Draws all weights but the text tower's from torch's default generator.

        Args:
            sample_rate_hz: rate of the waveforms.
            window_samples: their length.
            temperature_init: in (0, 1).
            precision: ``bf16`` runs the towers under autocast.
        """
        super().__init__()
        self.log_mel = LogMel(front_end, sample_rate_hz=sample_rate_hz)
        self.spec_augment = SpecAugment(front_end)
        self.audio_tower = build_audio_tower(
            audio_tower, mel_channels=front_end.mel_channels, frames=self.log_mel.frames(window_samples)
        )
        self.text_tower = text_tower
        self.audio_projection = nn.Linear(self.audio_tower.output_dim, embedding_dim)
        self.text_projection = nn.Linear(text_tower.output_dim, embedding_dim)
        self.temperature_scale = Temperature(temperature_init)
        self.precision = precision

    def forward(self, waveform: Tensor, token_ids: Tensor, attention_mask: Tensor) -> Embeddings:
        """Embeds m pairs.

        Args:
            waveform: int16 or float in [-1, 1], [m, views, window_samples].
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
        """
        pairs, views, _ = waveform.shape
        audio = self.embed_audio(waveform.flatten(0, 1)).view(pairs, views, -1)
        return Embeddings(audio, self.embed_text(token_ids, attention_mask), self.temperature)

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Waveforms [n, window_samples] to unit rows, float32 [n, d]."""
        spectrogram = self.spec_augment(self.log_mel(waveform))
        with self._autocast(waveform.device):
            pooled = self.audio_tower(spectrogram)
        return _unit(self.audio_projection(pooled.float()))

    def embed_text(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask [n, L] to unit rows, float32 [n, d]."""
        with self._autocast(token_ids.device):
            sentence = self.text_tower(token_ids, attention_mask)
        return _unit(self.text_projection(sentence.float()))

    @property
    def temperature(self) -> Tensor:
        """float32 scalar in (0, 1)."""
        temperature: Tensor = self.temperature_scale()
        return temperature

    def _autocast(self, device: torch.device) -> AbstractContextManager[None]:
        # no cache of cast weights: each is used once, and under ZeRO stage 3 its storage is gone after its layer
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False)


def build_joint_model(recipe: Recipe) -> JointModel:
    """A recipe's model: pretrained text encoder, everything else drawn from torch's default generator.

    Raises:
        PretrainedError: the recipe's text encoder cannot be loaded.
    """
    return JointModel(
        sample_rate_hz=recipe.data.sample_rate_hz,
        window_samples=recipe.data.window_samples,
        front_end=recipe.front_end,
        audio_tower=recipe.audio_tower,
        text_tower=TextTower.from_section(recipe.text_tower),
        embedding_dim=recipe.embedding_dim,
        temperature_init=recipe.loss.temperature_init,
        precision=recipe.train.precision,
    )


def _unit(rows: Tensor) -> Tensor:
    return nn.functional.normalize(rows, dim=-1)

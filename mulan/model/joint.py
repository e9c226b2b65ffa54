"""The joint model: an audio and a text tower that embed into one space of unit vectors (MuLan §3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mulan.model.audio_encoder import AudioEncoder, Precision, TrainedModel, tower_autocast
from mulan.model.outputs import Embeddings, unit_rows
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import LengthGroup
from mulan.model.views import ViewHead


class Temperature(nn.Module):
    """The learnable temperature (MuLan §3.1), kept in (0, 1) by a sigmoid.

    It is a separate module so that ZeRO stage 3 gathers its parameter whenever it is used.
    """

    _MARGIN = 1e-6
    """Minimum distance from 0 and 1, which the sigmoid reaches in float32 at logits of -104 and 17."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor([initial])))

    def forward(self) -> Tensor:
        return self.logit.squeeze().sigmoid().clamp(self._MARGIN, 1 - self._MARGIN)


class LogitBias(nn.Module):
    """The learnable bias of SigLIP (Zhai et al. 2023, §3.2), a separate module like :class:`Temperature`."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([initial]))

    def forward(self) -> Tensor:
        return self.bias.squeeze()


class JointModel(TrainedModel):
    """Embeds waveforms and token ids as unit vectors.

    Weights, front end and normalisation are float32 in any precision.
    """

    def __init__(
        self,
        *,
        audio_encoder: AudioEncoder,
        text_tower: TextTower,
        embedding_dim: int,
        temperature_init: float,
        bias_init: float | None = None,
        view_head: ViewHead | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Initialises the projections from torch's default generator.

        Args:
            embedding_dim: Dimension of the joint space.
            temperature_init: Initial temperature, in (0, 1).
            bias_init: Initial bias; None if no loss term adds one.
            view_head: Projection head for views of the same recording; None if no loss term compares them.
            precision: ``bf16`` runs the text tower under autocast; the audio encoder has its own setting.
        """
        super().__init__()
        self.audio_encoder = audio_encoder
        self.text_tower = text_tower
        self.audio_projection = nn.Linear(audio_encoder.output_dim, embedding_dim)
        self.text_projection = nn.Linear(text_tower.output_dim, embedding_dim)
        self.temperature_scale = Temperature(temperature_init)
        self.logit_bias = LogitBias(bias_init) if bias_init is not None else None
        self.view_head = view_head
        self._precision: Precision = precision

    def forward(
        self,
        waveform: Tensor,
        token_ids: Tensor,
        attention_mask: Tensor,
        groups: Sequence[LengthGroup] | None = None,
    ) -> Embeddings:
        """Embeds m pairs, without synchronising with the device.

        Args:
            waveform: int16 or float in [-1, 1], [m, views, window_samples]; one view if there is no ``view_head``.
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
            groups: Result of :func:`mulan.model.towers.text_lengths.length_groups`, with rows on the device of the
                token ids.
        """
        pooled = self.audio_encoder(waveform)
        audio = unit_rows(self.audio_projection(pooled[:, 0]))
        views = self.view_head(pooled) if self.view_head is not None else None
        text = self.embed_text(token_ids, attention_mask, groups)
        bias = self.logit_bias() if self.logit_bias is not None else None
        return Embeddings(audio, text, self.temperature, views, bias)

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms [n, window_samples] as unit rows, float32 [n, d]."""
        return unit_rows(self.audio_projection(self.audio_encoder(waveform)))

    def embed_text(
        self, token_ids: Tensor, attention_mask: Tensor, groups: Sequence[LengthGroup] | None = None
    ) -> Tensor:
        """Embeds texts, given as in :meth:`forward`, as unit rows, float32 [n, d]."""
        with tower_autocast(token_ids.device, self._precision):
            sentence = self.text_tower(token_ids, attention_mask, groups)
        return unit_rows(self.text_projection(sentence.float()))

    @property
    def temperature(self) -> Tensor:
        """The current temperature, a float32 scalar in (0, 1)."""
        temperature: Tensor = self.temperature_scale()
        return temperature

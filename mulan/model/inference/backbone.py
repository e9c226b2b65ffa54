"""Exported audio encoders, as feature extractors for other tasks."""

from typing import Self

import torch
from torch import nn

from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.exported import AudioEmbedder, build_audio_encoder
from mulan.model.inference.files import (
    CONFIG,
    TRUNK_USE,
    WEIGHTS,
    EncoderConfig,
    ExportedConfig,
    ModelConfig,
    ModelFolder,
    TaggerConfig,
)


class AudioBackbone(AudioEmbedder):
    """A trained audio encoder without its head, as a feature extractor for other tasks (MuLaP §3.2, SemiSupCon).

    It computes in float32 and deterministically, each recording in forward passes of its own. The vectors are not
    normalised, since their norm carries information.
    """

    def __init__(self, encoder: AudioEncoder, config: ExportedConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._encoder = encoder.to(device).eval()

    @classmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> Self:
        folder.require(CONFIG, WEIGHTS)
        folder.refuse(_OTHER_FORMATS)
        config = folder.config(EncoderConfig)
        # leaves the caller's generator unchanged; the random weights are replaced
        with torch.random.fork_rng(devices=[]):
            encoder = build_audio_encoder(folder, config)
        folder.load_weights(_with_prefix(encoder))
        return cls(encoder, config, device)

    @property
    def output_dim(self) -> int:
        """Number of features in a vector."""
        return self._encoder.output_dim

    @property
    def _vector_size(self) -> int:
        return self.output_dim

    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        return self._encoder(windows)


def _with_prefix(encoder: AudioEncoder) -> nn.Module:
    """Wraps an encoder so that its tensors have the same names as in a whole model."""
    return nn.ModuleDict({"audio_encoder": encoder})


_JOINT, _TAGGER = (config.model_fields["format"].default for config in (ModelConfig, TaggerConfig))
_OTHER_FORMATS = {
    _JOINT: "it is a joint model of audio and text; load it with mulan.MuLan",
    _TAGGER: f"it is a tagger; load it with mulan.Tagger, or {TRUNK_USE} of a run",
}
"""Explanations for exported models of other formats."""

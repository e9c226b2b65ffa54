"""Trained audio encoders without their heads: written to a folder, loaded from a path or URI, and used for features."""

from typing import Self

import numpy as np
import torch
from torch import nn

from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.exported import ExportedModel, build_audio_encoder
from mulan.model.inference.files import (
    CONFIG,
    WEIGHTS,
    EncoderConfig,
    ModelConfig,
    ModelFolder,
    TaggerConfig,
)


class AudioBackbone(ExportedModel):
    """A trained audio encoder without its head, as a feature extractor for other tasks (MuLaP §3.2, SemiSupCon).

    It computes in float32 and deterministically, and every recording passes through the network by itself. The vectors
    are not normalised: their length carries information.
    """

    def __init__(self, encoder: AudioEncoder, config: EncoderConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self._encoder = encoder.to(device).eval()

    @classmethod
    def _load(cls, folder: ModelFolder, device: torch.device) -> Self:
        folder.require(CONFIG, WEIGHTS)
        folder.refuse(dict.fromkeys(_OTHER_FORMATS, _OTHER_KIND))
        config = folder.config(EncoderConfig)
        with torch.random.fork_rng(devices=[]):  # the drawn weights are overwritten
            encoder = build_audio_encoder(config)
        folder.load_weights(_named(encoder))
        return cls(encoder, config, device)

    @property
    def output_dim(self) -> int:
        """Number of features of a vector."""
        return self._encoder.output_dim

    @property
    def _vector_size(self) -> int:
        return self.output_dim

    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        return self._encoder(windows)

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        mean: np.ndarray = torch.from_numpy(rows).double().mean(dim=0).numpy()
        return mean


def _named(encoder: AudioEncoder) -> nn.Module:
    """Wraps an encoder so that its tensors have the names that they have in a whole model."""
    return nn.ModuleDict({"audio_encoder": encoder})


_OTHER_FORMATS = [config.model_fields["format"].default for config in (ModelConfig, TaggerConfig)]
_OTHER_KIND = (
    "it is no audio encoder alone; a model with texts is loaded with mulan.MuLan, and a tagger can be the "
    "audio_tower.pretrained of a run"
)

"""Encoder for exported models of mulan: joint models, audio encoders, and the audio encoders of taggers."""

from collections.abc import Sequence

import numpy as np
import torch

from mulan import AudioBackbone, MuLan
from mulan.config.parsing import parse_json
from mulan.evaluation.encoders.audio_only import AudioOnlyEncoder
from mulan.evaluation.encoders.digest import folder_sha256
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.model.inference.exported import build_audio_encoder
from mulan.model.inference.files import (
    CONFIG,
    WEIGHTS,
    EncoderConfig,
    ExportedConfig,
    ModelConfig,
    ModelFolder,
    TaggerConfig,
    open_model_folder,
)
from mulan.model.tagging import TaggingModel

KIND = "exported"
_TEXTS_AT_ONCE = 64
"""Maximum number of texts in one forward pass."""

_CONFIGS: dict[str, type[ExportedConfig]] = {
    config.model_fields["format"].default: config for config in (ModelConfig, EncoderConfig, TaggerConfig)
}
"""Configurations of exported models by their format."""


class JointEncoder:
    """An exported joint model, which embeds audio and text as unit vectors of one space."""

    def __init__(self, info: EncoderInfo, model: MuLan) -> None:
        self._info, self._model = info, model

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""
        return self._info

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embeds windows, int16 [n, window_samples], as unit rows, float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not an int16 array of this shape.
        """
        return self._model.embed_windows(windows)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as unit rows, float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not a sequence of strings of valid Unicode; lists all other items.
        """
        return self._model.embed_text(texts, texts_at_once=_TEXTS_AT_ONCE)


def open_exported(uri: str, *, name: str, device: str | None = None) -> JointEncoder | AudioOnlyEncoder:
    """Loads an exported model, which computes in float32 and deterministically.

    Models other than joint ones embed audio by their audio encoder, whose vectors are not normalised; of a tagger, the
    classifier is left out.

    Args:
        uri: Path or URI of a folder that mulan exported.
        name: Name of the model in reports.
        device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.

    Raises:
        ModelFolderError: The folder does not exist or is incomplete, or is not compatible with this version.
        StorageError: The storage does not respond.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with open_model_folder(uri) as folder:
        config = read_exported_config(folder)
        model = _load(folder, config, chosen)
        sha256 = folder_sha256(folder.path)
    info = EncoderInfo(
        name=name,
        kind=KIND,
        uri=uri,
        sha256=sha256,
        sample_rate_hz=model.sample_rate_hz,
        window_samples=model.window_samples,
        dim=model.embedding_dim if isinstance(model, MuLan) else model.output_dim,
        is_unit=isinstance(model, MuLan),
        embeds_text=isinstance(model, MuLan),
        licence=config.checkpoint.licence if config.checkpoint else "",
    )
    return JointEncoder(info, model) if isinstance(model, MuLan) else AudioOnlyEncoder(info, model.embed_windows)


def read_exported_config(folder: ModelFolder) -> ExportedConfig:
    """Reads the configuration of an exported model of any kind.

    Raises:
        ModelFolderError: Files are missing, or the configuration is invalid or of another version.
    """
    folder.require(CONFIG, WEIGHTS)
    try:
        values = parse_json((folder.path / CONFIG).read_bytes())
    except ValueError:
        values = None
    kind = values.get("format") if isinstance(values, dict) else None
    # a damaged file, or one of another version, is reported as that of a joint model
    return folder.config(_CONFIGS.get(str(kind), ModelConfig))


def _load(folder: ModelFolder, config: ExportedConfig, device: torch.device) -> MuLan | AudioBackbone:
    if isinstance(config, ModelConfig):
        return MuLan.from_folder(folder, device)
    if isinstance(config, EncoderConfig):
        return AudioBackbone.from_folder(folder, device)
    assert isinstance(config, TaggerConfig)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's generator unchanged; the weights are replaced
        tagger = TaggingModel(build_audio_encoder(folder, config), classes=len(config.classes))
    folder.load_weights(tagger)
    return AudioBackbone(tagger.audio_encoder, config, device)

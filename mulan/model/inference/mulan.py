"""Exported joint models, which embed audio and text."""

from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
from transformers import AutoTokenizer

from mulan.data.text import TextTokenizer
from mulan.model.inference.exported import AudioEmbedder, build_audio_encoder
from mulan.model.inference.files import (
    CONFIG,
    TOKENIZER,
    TRUNK_USE,
    WEIGHTS,
    EncoderConfig,
    ModelConfig,
    ModelFolder,
    ModelFolderError,
    TaggerConfig,
)
from mulan.model.inference.inputs import checked_texts
from mulan.model.joint import JointModel
from mulan.model.towers.text import TextTower


class MuLan(AudioEmbedder):
    """A trained joint model, which embeds audio and text as unit vectors of one space.

    It embeds in float32 and deterministically. Every recording and every text is embedded in forward passes of its own,
    so its vector is bitwise independent of the other items in the call.
    """

    def __init__(self, model: JointModel, tokenizer: TextTokenizer, config: ModelConfig) -> None:
        super().__init__(config, model.text_projection.weight.device)
        self._model, self._tokenizer, self._config = model.eval(), tokenizer, config

    @classmethod
    def _load(cls, folder: ModelFolder, device: torch.device) -> Self:
        folder.refuse(_OTHER_FORMATS)
        folder.require(CONFIG, WEIGHTS, TOKENIZER)
        config = folder.config(ModelConfig)
        model = _build(folder, config)
        folder.load_weights(model)
        try:
            pretrained = AutoTokenizer.from_pretrained(folder.path / TOKENIZER, local_files_only=True)
            tokenizer = TextTokenizer.of(pretrained, max_tokens=config.max_tokens, prefix=config.prefix)
        except (OSError, ValueError) as error:
            raise ModelFolderError(folder.uri, [f"{TOKENIZER} cannot be loaded: {error}"]) from error
        return cls(model.to(device), tokenizer, config)

    @property
    def embedding_dim(self) -> int:
        """Dimension d of the joint space."""
        return self._config.embedding_dim

    def embed_text(self, texts: Iterable[str]) -> np.ndarray:
        """Embeds texts, with the prefix and truncated to the number of tokens that the model was trained with.

        Args:
            texts: Any finite, ordered iterable of strings. Only the first :data:`mulan.data.text.MAX_CHARACTERS`
                characters of each are tokenized. Blank texts are embedded as well.

        Returns:
            float32 [N, d], unit rows, in the order of the texts.

        Raises:
            EmbeddingInputError: The argument is not such an iterable, or items are not strings or not valid Unicode;
                lists all such items.
        """
        vectors = [self._embed_one_text(text) for text in checked_texts(texts)]
        return np.array(vectors, np.float32).reshape(len(vectors), self.embedding_dim)

    def embed_windows(self, waveform: np.ndarray) -> np.ndarray:
        """Embeds windows, int16 [n, window_samples], as unit rows, float32 [n, d].

        Windows are batched, so a row can change by about 1e-6 with the other windows in its batch.

        Raises:
            EmbeddingInputError: The argument is not an int16 array of this shape.
        """
        return self._vectors_of_windows("embed_windows", waveform)

    def _embed_one_text(self, text: str) -> np.ndarray:
        token_ids = torch.tensor(self._tokenizer([text]), device=self._device)
        with torch.inference_mode():
            row = self._model.embed_text(token_ids, torch.ones_like(token_ids))
        vector: np.ndarray = row[0].cpu().numpy()
        return vector

    @property
    def _vector_size(self) -> int:
        return self.embedding_dim

    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        return self._model.embed_audio(windows)

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        return unit_mean(rows)


def unit_mean(rows: np.ndarray) -> np.ndarray:
    """Averages the vectors of a recording's windows, float32 [windows, d], to a unit vector, float64 [d]."""
    mean = rows.mean(axis=0, dtype=np.float64)
    unit: np.ndarray = mean / np.linalg.norm(mean)
    return unit


_TAGGER, _ENCODER = (config.model_fields["format"].default for config in (TaggerConfig, EncoderConfig))
_OTHER_FORMATS = {
    _TAGGER: "it is a tagger, which was trained without texts and cannot embed them; load it with mulan.Tagger, or "
    f"{TRUNK_USE} of a run with texts",
    _ENCODER: "it is an audio encoder, which cannot embed texts; load it with mulan.AudioBackbone, or "
    f"{TRUNK_USE} of a run with texts",
}
"""Explanations for exported models of other formats."""


def _build(folder: ModelFolder, config: ModelConfig) -> JointModel:
    with torch.random.fork_rng(devices=[]):  # leaves the caller's generator unchanged; the random weights are replaced
        try:
            text_tower = TextTower.from_config(config.text_encoder, pooling=config.pooling)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelFolderError(folder.uri, [f"{CONFIG}: text_encoder: {error}"]) from error
        return JointModel(
            audio_encoder=build_audio_encoder(folder, config),
            text_tower=text_tower,
            embedding_dim=config.embedding_dim,
            temperature_init=0.5,
        )

"""Exported joint models, which embed audio and text."""

from collections.abc import Iterable, Sequence
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
from mulan.model.inference.inputs import check_count, checked_texts
from mulan.model.joint import JointModel
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import batches_of_equal_length


class MuLan(AudioEmbedder):
    """A trained joint model, which embeds audio and text as unit vectors of one space.

    It embeds in float32 and deterministically. Every recording and every text is embedded in forward passes of its own,
    so its vector is bitwise independent of the other items in the call, except where batches are asked for.
    """

    def __init__(self, model: JointModel, tokenizer: TextTokenizer, config: ModelConfig) -> None:
        super().__init__(config, model.text_projection.weight.device)
        self._model, self._tokenizer, self._config = model.eval(), tokenizer, config

    @classmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> Self:
        folder.refuse(_OTHER_FORMATS)
        folder.require(CONFIG, WEIGHTS, TOKENIZER)
        folder.require(*_TOKENIZER_FILES)
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

    def embed_text(self, texts: Iterable[str], *, texts_at_once: int = 1) -> np.ndarray:
        """Embeds texts, with the prefix and truncated to the number of tokens that the model was trained with.

        Args:
            texts: Any finite, ordered iterable of strings. Only the first :data:`mulan.data.text.MAX_CHARACTERS`
                characters of each are tokenized. Blank texts are embedded as well.
            texts_at_once: Maximum number of texts in one forward pass, at least 1. Those with equal numbers of tokens
                are batched, which is faster for many texts. Above 1, a row can change by about 1e-6 with the other
                texts.

        Returns:
            float32 [N, d], unit rows, in the order of the texts.

        Raises:
            EmbeddingInputError: The first argument is not such an iterable, or items are not strings or not valid
                Unicode; lists all such items. Or the second is not a number of texts.
        """
        check_count("texts_at_once", texts_at_once)
        token_ids = self._tokenizer(checked_texts(texts))
        vectors = np.zeros((len(token_ids), self.embedding_dim), np.float32)
        for rows in batches_of_equal_length(token_ids, texts_at_once):
            vectors[rows] = self._vectors_of_tokens([token_ids[row] for row in rows])
        return vectors

    def _vectors_of_tokens(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Embeds texts with equal numbers of tokens in one forward pass, float32 [m, d]."""
        batch = torch.tensor(token_ids, device=self._device)
        with torch.inference_mode():
            return self._model.embed_text(batch, torch.ones_like(batch)).cpu().numpy()

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


_TOKENIZER_FILES = tuple(f"{TOKENIZER}/{name}" for name in ("tokenizer.json", "tokenizer_config.json"))
"""Files without which transformers makes a tokenizer that has no words, and reports nothing."""
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

"""Trained models: written to a folder, loaded from a path or URI, and used to embed audio and text."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mulan.config.recipe import Recipe
from mulan.data.errors import OnError, SkippedRecording
from mulan.data.text import MAX_CHARACTERS, whole_tokenizer
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    EncoderConfig,
    ModelConfig,
    ModelFolderError,
    TaggerConfig,
    config_faults,
    local_copy,
    write_model,
)
from mulan.model.inference.inputs import AudioInput, check_windows, checked_texts, embedded, in_batches, windows_of
from mulan.model.joint import JointModel
from mulan.model.towers.text import TextTower

WINDOWS_AT_ONCE = 16
"""That share a pass through the network: a row moves by some 1e-6 with the number."""


def export_model(model: JointModel, recipe: Recipe, folder: Path) -> None:
    """Writes ``config.json``, ``model.safetensors`` and ``tokenizer/`` for :meth:`MuLan.from_pretrained`.

    Args:
        model: built from ``recipe``, whole in memory.
        folder: created if need be.

    Raises:
        PretrainedError: the recipe's text encoder, whose tokenizer is copied, is not there any more.
    """
    tokenizer = whole_tokenizer(recipe.text_tower.pretrained)
    config = ModelConfig(
        sample_rate_hz=recipe.data.sample_rate_hz,
        window_samples=recipe.data.window_samples,
        front_end=recipe.front_end,
        audio_tower=recipe.audio_tower.model_copy(update={"pretrained": ""}),
        text_encoder=model.text_tower.config,
        max_tokens=recipe.text_tower.max_tokens,
        embedding_dim=recipe.embedding_dim,
    )
    # views are compared in training only
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("view_head.")}
    write_model(weights, config, folder)
    tokenizer.save_pretrained(folder / TOKENIZER)


class MuLan:
    """A trained model. Embeds in float32 and without randomness: the same input gives the same vector, always.

    Every recording and every text passes through the network by itself, so its vector does not depend on what else is
    in the call, to the last bit.
    """

    def __init__(self, model: JointModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> None:
        self._model, self._tokenizer, self._config = model.eval(), tokenizer, config
        self._device = model.text_projection.weight.device

    @classmethod
    def from_pretrained(cls, path_or_uri: str | Path, *, device: str | torch.device | None = None) -> "MuLan":
        """Loads a folder that :func:`export_model` wrote.

        Args:
            path_or_uri: a local path, or any fsspec URI such as ``s3://bucket/run/model``.
            device: a CUDA device if there is one, otherwise the CPU, if None.

        Raises:
            ModelFolderError: the folder is missing, incomplete, or does not fit this version of mulan.
        """
        uri = str(path_or_uri)
        with tempfile.TemporaryDirectory() as download:
            folder = local_copy(uri, Path(download))
            kind = _audio_only(folder / CONFIG)
            if kind:
                raise ModelFolderError(uri, [kind])
            absent = [name for name in (CONFIG, WEIGHTS, TOKENIZER) if not (folder / name).exists()]
            if absent:
                raise ModelFolderError(uri, [f"{name} is missing" for name in absent])
            config = _read_config(uri, folder / CONFIG)
            model = _load_model(uri, folder / WEIGHTS, config)
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder / TOKENIZER, local_files_only=True)
            except (OSError, ValueError) as error:
                raise ModelFolderError(uri, [f"{TOKENIZER} cannot be loaded: {error}"]) from error
        return cls(model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), tokenizer, config)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that the network sees."""
        return self._config.sample_rate_hz

    @property
    def window_samples(self) -> int:
        """Length of its context window."""
        return self._config.window_samples

    @property
    def embedding_dim(self) -> int:
        """d, the length of a vector."""
        return self._config.embedding_dim

    @overload
    def embed_audio(
        self,
        paths_or_arrays: Iterable[AudioInput],
        sample_rate_hz: int | None = None,
        *,
        on_error: Literal["raise"] = "raise",
    ) -> np.ndarray: ...

    @overload
    def embed_audio(
        self,
        paths_or_arrays: Iterable[AudioInput],
        sample_rate_hz: int | None = None,
        *,
        on_error: Literal["skip"],
    ) -> tuple[np.ndarray, list[SkippedRecording]]: ...

    def embed_audio(
        self,
        paths_or_arrays: Iterable[AudioInput],
        sample_rate_hz: int | None = None,
        *,
        on_error: OnError = "raise",
    ) -> np.ndarray | tuple[np.ndarray, list[SkippedRecording]]:
        """One vector a recording: the mean over its windows (MuLan §4.1.1), normalised again.

        Args:
            paths_or_arrays: any iterable of local audio files (``~`` is expanded, ``file://`` is taken off), and of
                arrays [samples] or [channels, samples] of at most 64 channels, int16 or floating point in [-1, 1]. It
                must come to an end and have an order, and its items are all held until the last is embedded. A file
                may be of any length: memory does not depend on it.
            sample_rate_hz: of the arrays, a whole number of Hz from 1000 to 1,000,000; files know their own.
            on_error: ``"raise"`` embeds all or none: faults of arrays and addresses are told together before any file
                is read, and the first file that cannot be decoded ends the call. ``"skip"`` passes over such items.

        Returns:
            float32 [N, d], unit rows, in the order of the items. With ``"skip"`` a pair: the rows of what was not
            passed over, and a list of what was: a path as it was given, or ``paths_or_arrays[3]``, and the reason.

        Raises:
            EmbeddingInputError: no such iterable, ``on_error`` or ``sample_rate_hz``, whatever ``on_error`` says; an
                item that is neither a local path nor an array of sound, such as one that is turned round, in another
                range, or with samples that are not numbers.
            DecodeError: a file that is not there or cannot be decoded; names it.
        """
        vectors, skipped = embedded(paths_or_arrays, sample_rate_hz, on_error=on_error, embed=self._embed_recording)
        return self._stack(vectors) if on_error == "raise" else (self._stack(vectors), skipped)

    def embed_text(self, texts: Iterable[str]) -> np.ndarray:
        """One vector a text, cut to the number of tokens that the model was trained with.

        Args:
            texts: any iterable of strings that comes to an end and has an order. Of each, the first
                :data:`mulan.data.text.MAX_CHARACTERS` are read. A blank one has a vector as well.

        Returns:
            float32 [N, d], unit rows, in the order of the texts.

        Raises:
            EmbeddingInputError: no such iterable, or items that are no strings or not Unicode, all of which are named.
        """
        return self._stack([self._embed_sentence(text) for text in checked_texts(texts)])

    def embed_windows(self, waveform: np.ndarray) -> np.ndarray:
        """int16 [n, window_samples] to unit rows, float32 [n, d].

        Windows share passes through the network, which moves a row by about 1e-6 depending on its neighbours.

        Raises:
            EmbeddingInputError: an array of another type or shape.
        """
        check_windows(waveform, self.window_samples)
        parts = [np.zeros((0, self.embedding_dim), np.float32)]
        for start in range(0, len(waveform), WINDOWS_AT_ONCE):
            windows = torch.tensor(waveform[start : start + WINDOWS_AT_ONCE], device=self._device)
            with torch.inference_mode():
                parts.append(self._model.embed_audio(windows).cpu().numpy())
        return np.concatenate(parts)

    def _embed_recording(self, item: AudioInput, sample_rate_hz: int | None) -> np.ndarray:
        windows = windows_of(item, self.window_samples, sample_rate_hz=sample_rate_hz, wanted_hz=self.sample_rate_hz)
        rows = [self.embed_windows(batch) for batch in in_batches(windows, WINDOWS_AT_ONCE)]
        return unit_mean(np.concatenate(rows))

    def _embed_sentence(self, text: str) -> np.ndarray:
        read = text[:MAX_CHARACTERS]  # as in training
        tokens = self._tokenizer(read, truncation=True, max_length=self._config.max_tokens, return_tensors="pt")
        with torch.inference_mode():
            row = self._model.embed_text(
                tokens["input_ids"].to(self._device), tokens["attention_mask"].to(self._device)
            )
        vector: np.ndarray = row[0].cpu().numpy()
        return vector

    def _stack(self, vectors: list[np.ndarray]) -> np.ndarray:
        return np.array(vectors, np.float32).reshape(len(vectors), self.embedding_dim)


def unit_mean(rows: np.ndarray) -> np.ndarray:
    """The vector of a recording, float64 [d] of length 1, from those of its windows, float32 [windows, d]."""
    mean = rows.mean(axis=0, dtype=np.float64)
    unit: np.ndarray = mean / np.linalg.norm(mean)
    return unit


_TAGGER, _ENCODER = (config.model_fields["format"].default for config in (TaggerConfig, EncoderConfig))
_AUDIO_ONLY = {
    _TAGGER: "it is a tagger, trained without texts, and embeds none; it can be the audio_tower.pretrained of a run "
    "with texts",
    _ENCODER: "it is an audio encoder alone, which embeds no texts; load it with mulan.AudioBackbone, or make it the "
    "audio_tower.pretrained of a run with texts",
}
"""What a folder of another format is."""


def _audio_only(file: Path) -> str | None:
    """What a folder is that holds no joint model, if it is one of ours."""
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return _AUDIO_ONLY.get(values.get("format")) if isinstance(values, dict) else None


def _read_config(uri: str, file: Path) -> ModelConfig:
    try:
        return ModelConfig.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ModelFolderError(uri, config_faults(error)) from error


def _load_model(uri: str, file: Path, config: ModelConfig) -> JointModel:
    with torch.random.fork_rng(devices=[]):  # first weights are drawn only to be overwritten
        try:
            text_tower = TextTower.from_config(config.text_encoder)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelFolderError(uri, [f"{CONFIG}: text_encoder: {error}"]) from error
        audio_encoder = AudioEncoder(
            sample_rate_hz=config.sample_rate_hz,
            window_samples=config.window_samples,
            front_end=config.front_end,
            audio_tower=config.audio_tower,
        )
        model = JointModel(
            audio_encoder=audio_encoder,
            text_tower=text_tower,
            embedding_dim=config.embedding_dim,
            temperature_init=0.5,
        )
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise ModelFolderError(uri, [f"{WEIGHTS} cannot be read: {error}"]) from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFolderError(uri, [f"{WEIGHTS} does not fit {CONFIG}: {error}"]) from error
    return model

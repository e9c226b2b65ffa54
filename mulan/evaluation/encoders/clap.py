"""Encoder for folders of ``ClapModel`` of ``transformers``, such as the models of LAION (Wu et al. 2023).

Its code is that of ``transformers``: no code in a folder is run.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel

from mulan.config.parsing import parse_json
from mulan.data.text import TextTokenizer, tokenize
from mulan.evaluation.encoders.digest import files_sha256
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.model.audio.extractors import ClapLogMel
from mulan.model.inference.exported import float32_convolutions
from mulan.model.inference.inputs import check_windows, checked_texts
from mulan.model.inference.passes import in_passes, windows_of_a_pass
from mulan.model.towers.pretrained_networks import load_network
from mulan.storage.hub import AUDIO_CHECKPOINT, TEXT_ENCODER, PretrainedError, RequiredFiles, loading
from mulan.storage.licence import Licence, read_licence
from mulan.storage.weights_cache import weights_folder

KIND = "clap"
CLAP_FILES = RequiredFiles(
    "--model clap=",
    # a processor of transformers 5 writes its feature extractor to processor_config.json
    {**TEXT_ENCODER.parts, "feature extractor": ("processor_config.json", "preprocessor_config.json")},
    (*TEXT_ENCODER.optional, *AUDIO_CHECKPOINT.optional),
)
"""The files of a folder of ``ClapModel``."""

_TEXTS_AT_ONCE = 64
"""Maximum number of texts in one forward pass."""
_MIN_TOKENS = 3
"""Minimum length of a text: a word between two special tokens."""
_REMEDY = "Set --model clap= to a ClapModel that transformers has saved with its processor."


class ClapEncoder:
    """A ``ClapModel``, which embeds audio and text as unit vectors of one space. It computes in float32.

    A window is as long as the feature extractor's longest input, so that neither its random choice of a part
    (``truncation = "rand_trunc"``) nor the fusion of several parts (``"fusion"``) ever applies: a model with fusion
    embeds a window as it embeds every recording that is not longer. Texts are truncated to the number of tokens that
    the tokenizer states and the network has positions for.
    """

    def __init__(
        self, info: EncoderInfo, model: ClapModel, front_end: ClapLogMel, tokenizer: TextTokenizer, device: torch.device
    ) -> None:
        self._info, self._tokenizer, self._device = info, tokenizer, device
        self._model, self._front_end = model.to(device).eval(), front_end.to(device)
        self._windows_at_once = windows_of_a_pass(device.type, info.window_samples)

    @classmethod
    def open(cls, uri: str, *, name: str, device: str | torch.device | None = None) -> Self:
        """Loads a model.

        Args:
            uri: Path or URI of a folder, or ``hub:OWNER/NAME``; see :func:`mulan.storage.weights_cache.weights_folder`.
            name: Name of the model in reports.
            device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.

        Raises:
            PretrainedError: The folder does not exist or is incomplete, holds no ``ClapModel``, or its parts do not fit
                each other.
            StorageError: The storage does not respond.
        """
        folder = weights_folder(uri, CLAP_FILES)
        config, extractor = read_clap(uri, folder)
        with loading(uri, "its tokenizer cannot be used", _REMEDY):
            tokenizer = _read_tokenizer(folder, config)
        model = load_network(ClapModel, uri, folder, config, remedy=_REMEDY)
        assert isinstance(model, ClapModel)
        info = EncoderInfo(
            name=name,
            kind=KIND,
            uri=uri,
            sha256=_content_sha256(folder),
            sample_rate_hz=extractor.sampling_rate,
            window_samples=extractor.nb_max_samples,
            dim=config.projection_dim,
            is_unit=True,
            embeds_text=True,
            licence=_name_of(read_licence(folder)),
        )
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder = cls(info, model, ClapLogMel(extractor), tokenizer, chosen)
        with loading(uri, "cannot be run on the output of its feature extractor and its tokenizer", _REMEDY):
            silence = np.zeros((1, info.window_samples), np.int16)
            rows = np.concatenate([encoder.embed_audio(silence), encoder.embed_text(["music"])])
        if not np.isfinite(rows).all():
            raise PretrainedError(uri, ["its outputs are not finite"], "Restore its weight files.")
        return encoder

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""
        return self._info

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embeds windows, int16 [n, window_samples], as unit rows, float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not an int16 array of this shape.
        """
        check_windows(windows, self._info.window_samples, function="embed_audio")
        return in_passes(self._audio_rows, windows, at_once=self._windows_at_once, dim=self._info.dim)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as unit rows, float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not a sequence of strings of valid Unicode; lists all other items.
        """
        items = checked_texts(texts)
        rows = [self._text_rows(items[k : k + _TEXTS_AT_ONCE]) for k in range(0, len(items), _TEXTS_AT_ONCE)]
        return np.concatenate([np.zeros((0, self._info.dim), np.float32), *rows])

    def _audio_rows(self, windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), float32_convolutions():
            features = self._front_end(torch.from_numpy(windows.copy()).to(self._device))
            rows: Tensor = self._model.get_audio_features(features).pooler_output
            return rows.cpu().numpy()

    def _text_rows(self, texts: list[str]) -> np.ndarray:
        token_ids, mask = tokenize(texts, self._tokenizer)
        with torch.inference_mode():
            rows: Tensor = self._model.get_text_features(
                torch.from_numpy(token_ids).to(self._device), torch.from_numpy(mask).to(self._device)
            ).pooler_output
            return rows.cpu().numpy()


def read_clap(uri: str, folder: Path) -> tuple[ClapConfig, ClapFeatureExtractor]:
    """Reads the configuration of a model, and its feature extractor.

    Args:
        uri: Name of the folder, for messages.
        folder: Local folder of a ``ClapModel``.

    Raises:
        PretrainedError: The folder holds no ``ClapModel`` that can be used.
    """
    with loading(uri, "config.json cannot be used", _REMEDY):
        config = _read_config(parse_json((folder / "config.json").read_bytes()))
    with loading(uri, "its feature extractor cannot be used", _REMEDY):
        return config, _read_extractor(folder)


def _read_config(values: object) -> ClapConfig:
    kind = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(values, dict) or kind != ClapConfig.model_type:
        raise ValueError(f"it describes {f'a network of type {kind!r}' if kind else 'no network of transformers'}")
    config: ClapConfig = ClapConfig.from_dict(values)
    if config.audio_config.enable_fusion and config.audio_config.fusion_type == "channel_map":
        raise ValueError("fusion_type channel_map is not supported")
    # without it, the network computes what it computes with it for audio that is not longer than a window, but from one
    # spectrogram instead of four equal ones
    config.audio_config.enable_fusion = False
    return config


def _read_extractor(folder: Path) -> ClapFeatureExtractor:
    values, _ = ClapFeatureExtractor.get_feature_extractor_dict(folder, local_files_only=True)
    kind = values.get("feature_extractor_type")
    if kind not in (None, ClapFeatureExtractor.__name__):
        raise ValueError(f"it is a {kind}, but the network needs a {ClapFeatureExtractor.__name__}")
    extractor: ClapFeatureExtractor = ClapFeatureExtractor.from_dict(values)
    for name in ("sampling_rate", "nb_max_samples"):
        number = getattr(extractor, name)
        if number != int(number) or number < 1:
            raise ValueError(f"{name} is {number}")
        setattr(extractor, name, int(number))
    return extractor


def _read_tokenizer(folder: Path, config: ClapConfig) -> TextTokenizer:
    pretrained = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text, padding_id = config.text_config, pretrained.pad_token_id
    # the network counts positions from pad_token_id on
    max_tokens = min(pretrained.model_max_length, text.max_position_embeddings - text.pad_token_id - 1)
    if max_tokens < _MIN_TOKENS:
        raise ValueError(f"a text may have at most {max_tokens} tokens")
    tokenizer = TextTokenizer.of(pretrained, max_tokens=max_tokens, prefix="")
    if padding_id != text.pad_token_id:
        raise ValueError(f"it pads with token {padding_id}, but the network with {text.pad_token_id}")
    largest_id = max(tokenizer.tokenizer.get_vocab().values())
    if largest_id >= text.vocab_size:
        raise ValueError(f"it has token id {largest_id}, but the network has only {text.vocab_size} token embeddings")
    return tokenizer


def _content_sha256(folder: Path) -> str:
    """Returns the SHA-256 of the files that determine the vectors, in hexadecimal."""
    determining = replace(CLAP_FILES, optional=TEXT_ENCODER.optional)
    return files_sha256(folder, determining.select(path.name for path in folder.iterdir() if path.is_file()))


def _name_of(licence: Licence) -> str:
    return licence.name or ("in its file LICENSE" if licence.text else "")

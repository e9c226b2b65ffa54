"""Encoders of text alone: pretrained text encoders as they are, such as an un-tuned text tower, and sentence encoders.

They are compared with joint models on text triplets (MuLan §4.2.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoConfig

from mulan.config.parsing import parse_json
from mulan.config.paths import LOCAL_SCHEMES, scheme_of
from mulan.config.sections import Pooling, TextTowerConfig
from mulan.data.text import TextTokenizer, load_tokenizer, pretrained_tokenizer
from mulan.evaluation.encoders.digest import files_sha256, text_sha256
from mulan.evaluation.encoders.encoder import EncoderError, EncoderInfo
from mulan.model.inference.inputs import checked_texts
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import batches_of_equal_length
from mulan.storage import filesystem
from mulan.storage.hub import TEXT_ENCODER, PretrainedError, is_hub_model, loading
from mulan.storage.licence import read_licence
from mulan.storage.weights_cache import weights_folder

KIND = "text"
_TEXTS_AT_ONCE = 64
"""Maximum number of texts in one forward pass."""
_MAX_TOKENS = 512
"""Maximum number of tokens of a text (MuLan §3.3)."""
_MODULES, _LENGTH = "modules.json", "sentence_bert_config.json"
"""Files of sentence-transformers: the modules that compute a vector one after another, and the length of texts."""
_FILES = replace(TEXT_ENCODER, field="--model text=")
_HUB_FILES = replace(
    _FILES, optional=(*_FILES.optional, _MODULES, _LENGTH, "*_Pooling/config.json", "README.md", "LICENSE*")
)
_POOLINGS: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
"""Poolings by their names in sentence-transformers."""
_FLAG = "pooling_mode_"
"""Beginning of the names of flags, by which older versions of sentence-transformers state the pooling."""
_NEWER_NAMES = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean"}
"""Names of poolings by the endings of flags, where they differ."""
_REMEDY = (
    "Evaluate it as python=MODULE:FUNCTION, with a function that loads it with sentence-transformers, or choose the "
    "pooling with text-cls= or text-mean=."
)


class SentenceEncoder:
    """A text encoder whose pooled outputs are compared by cosine similarity. It computes in float32."""

    def __init__(self, info: EncoderInfo, tower: TextTower, tokenizer: TextTokenizer, device: torch.device) -> None:
        self._info, self._tokenizer, self._device = info, tokenizer, device
        self._tower = tower.to(device).eval()

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is; it embeds no audio."""
        return self._info

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Raises :class:`EncoderError`: the encoder embeds no audio."""
        raise EncoderError(f"encoder {self._info.name}: it embeds text alone, no audio")

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as unit rows, float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not a sequence of strings of valid Unicode; lists all other items.
        """
        token_ids = self._tokenizer(checked_texts(texts))
        vectors = np.zeros((len(token_ids), self._info.dim), np.float32)
        for rows in batches_of_equal_length(token_ids, _TEXTS_AT_ONCE):
            batch = torch.tensor([token_ids[row] for row in rows], device=self._device)
            with torch.inference_mode():
                pooled = self._tower(batch, torch.ones_like(batch))
                vectors[rows] = torch.nn.functional.normalize(pooled.double(), dim=1).float().cpu().numpy()
        return vectors


def open_sentence_encoder(
    uri: str, *, name: str, device: str | None = None, pooling: Literal["cls", "mean"] | None = None
) -> SentenceEncoder:
    """Loads a text encoder.

    Texts are truncated to the number of tokens that a folder of sentence-transformers states; otherwise to that of the
    tokenizer and the network, and to 512.

    Args:
        uri: Path or URI of a folder, ``hub:OWNER/NAME`` or ``python:PACKAGE/FOLDER``; see
            :func:`mulan.storage.weights_cache.weights_folder`.
        name: Name of the encoder in reports.
        device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.
        pooling: The output that represents a text. If None, that of a folder of sentence-transformers, otherwise the
            mean.

    Raises:
        PretrainedError: The folder does not exist, holds no text encoder, lacks weights, or states a pooling or modules
            of sentence-transformers that are not supported.
        StorageError: The storage does not respond.
    """
    # the tower's files are copied or downloaded once
    folder = weights_folder(uri, _HUB_FILES if is_hub_model(uri) else _FILES)
    stated = _stated(uri, folder, reads_modules=pooling is None)
    section = TextTowerConfig(
        pretrained=uri, pooling=pooling or stated.pooling, max_tokens=_max_tokens(uri, folder, stated.max_tokens)
    )
    tower, tokenizer = TextTower.from_section(section), load_tokenizer(section)
    assert tokenizer is not None
    content = files_sha256(folder, TEXT_ENCODER.select(path.name for path in folder.iterdir() if path.is_file()))
    info = EncoderInfo(
        name=name,
        kind=f"{KIND}-{pooling}" if pooling else KIND,
        uri=uri,
        sha256=text_sha256(content, section.pooling, str(section.max_tokens)),
        sample_rate_hz=0,
        window_samples=0,
        dim=tower.output_dim,
        is_unit=True,
        embeds_text=True,
        licence=read_licence(folder).name,
    )
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return SentenceEncoder(info, tower, tokenizer, chosen)


@dataclass(frozen=True)
class _Stated:
    """What a folder of sentence-transformers states about its texts."""

    pooling: Pooling = "mean"
    max_tokens: int | None = None


def _stated(uri: str, folder: Path, *, reads_modules: bool) -> _Stated:
    """Reads the files of sentence-transformers, if there are any."""
    with loading(uri, "its files for sentence-transformers cannot be used", _REMEDY):
        length, modules = (_values(uri, folder, name) for name in (_LENGTH, _MODULES))
        max_tokens = length.get("max_seq_length") if isinstance(length, Mapping) else None
        if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
            raise ValueError(f"{_LENGTH}: max_seq_length is {max_tokens!r:.40}")
        if modules is None or not reads_modules:
            return _Stated(max_tokens=max_tokens)
        kinds = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
        further = sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"})
        faults = [f"it has the module {kind} of sentence-transformers, which is not supported" for kind in further]
        if kinds.get("Transformer"):
            faults.append(f"its network is in the folder {kinds['Transformer']}; name that folder")
        pooling = _values(uri, folder, f"{kinds['Pooling']}/config.json") if "Pooling" in kinds else {}
        modes = _modes(pooling)
        if len(modes) != 1 or modes[0] not in _POOLINGS:
            faults.append(f"its pooling is {' and '.join(modes)}, but only cls, mean and lasttoken are supported")
    if faults:
        raise PretrainedError(uri, faults, _REMEDY)
    return _Stated(_POOLINGS[modes[0]], max_tokens)


def _modes(pooling: Any) -> list[str]:
    """Returns the names of the poolings, whose outputs sentence-transformers concatenates."""
    if not isinstance(pooling, Mapping):
        raise FileNotFoundError("the configuration of the module Pooling is missing")
    modes = pooling.get("pooling_mode")
    if modes is None:
        flags = [key.removeprefix(_FLAG) for key, on in pooling.items() if key.startswith(_FLAG) and on]
        modes = [_NEWER_NAMES.get(flag, flag) for flag in flags] or ["mean"]
    return [modes] if isinstance(modes, str) else [str(mode) for mode in modes]


def _values(uri: str, folder: Path, name: str) -> Any:
    """Returns the content of a JSON file of a folder; None if there is no such file.

    Copies of remote folders hold only the files that transformers needs, so that others are read from where they are.
    """
    is_remote = scheme_of(uri) not in ("", *LOCAL_SCHEMES)
    where = filesystem.join(uri if is_remote else str(folder), name)
    try:
        return parse_json(filesystem.read_bytes(where))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _max_tokens(uri: str, folder: Path, stated: int | None) -> int:
    """Returns the largest number of tokens of a text that the folder's parts allow."""
    tokenizer = pretrained_tokenizer(uri)
    with loading(uri, "config.json cannot be loaded", _REMEDY):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        positions = getattr(config, "max_position_embeddings", None) or _MAX_TOKENS
        # networks of RoBERTa's kind count positions from the id of padding on
        if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
            positions -= config.pad_token_id + 1
        return max(3, min(_MAX_TOKENS, stated or _MAX_TOKENS, tokenizer.model_max_length, positions))

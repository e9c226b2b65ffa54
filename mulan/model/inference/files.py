"""Exported models as files: what the folders of joint models, taggers and audio encoders hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from mulan.config import audio, base
from mulan.config.errors import MulanError
from mulan.storage import filesystem
from mulan.storage.retries import with_retries

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer"
"""Two files and, for joint models, a folder."""


class ModelFolderError(MulanError, ValueError):
    """A model folder that cannot be loaded. Lists every fault found."""

    def __init__(self, uri: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"model {uri}: {'; '.join(faults)}. Name a folder written by mulan's export.")


class _Exported(base.Section):
    """What the configurations of all exported models say, so that their waveforms can be prepared."""

    sample_rate_hz: base.PositiveInt
    window_samples: base.PositiveInt
    front_end: audio.FrontEndConfig
    audio_tower: audio.AudioTowerConfig
    """Its ``pretrained`` is empty: the weights are those of the folder."""


class ModelConfig(_Exported):
    """``config.json`` of a joint model: all that is needed to build it again before its weights are loaded."""

    format: Literal["mulan-1"] = "mulan-1"
    text_encoder: dict[str, Any]
    """Configuration of ``transformers``."""
    max_tokens: base.PositiveInt
    embedding_dim: base.PositiveInt


class TaggerConfig(_Exported):
    """``config.json`` of a tagger."""

    format: Literal["mulan-tagger-1"] = "mulan-tagger-1"
    classes: tuple[str, ...]
    """Tags, in the order of the logits."""


class EncoderConfig(_Exported):
    """``config.json`` of an audio encoder."""

    format: Literal["mulan-encoder-1"] = "mulan-encoder-1"


def write_model(weights: Mapping[str, Tensor], config: _Exported, folder: Path) -> None:
    """Writes ``config.json`` and ``model.safetensors``.

    Args:
        weights: by name, whole in memory, on any device.
        folder: created if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def local_copy(uri: str, download: Path) -> Path:
    """A model's folder on this machine: itself, or copied below ``download``.

    Raises:
        ModelFolderError: there is none, or it cannot be reached.
    """
    try:
        fs, path = filesystem.url_to_fs(uri)
        found = with_retries(f"{uri} cannot be reached", fs.isdir, path)
    except (OSError, ValueError) as error:
        raise ModelFolderError(uri, [f"cannot be reached: {error}"]) from error
    if not found:
        raise ModelFolderError(uri, ["there is no such folder"])
    if filesystem.is_local(uri):
        return Path(path)
    filesystem.copy_folder(uri, str(download / "model"))
    return download / "model"


def config_faults(error: ValidationError) -> list[str]:
    """What is wrong with a ``config.json``, for messages."""
    return [f"{CONFIG}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]

"""Exported models as files: what the folders of joint models and of taggers hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from mulan.config import sections
from mulan.config.errors import MulanError

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer"
"""Two files and, for joint models, a folder."""


class ModelFolderError(MulanError, ValueError):
    """A model folder that cannot be loaded. Lists every fault found."""

    def __init__(self, uri: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"model {uri}: {'; '.join(faults)}. Name a folder written by mulan's export.")


class _Exported(sections.Section):
    """What the configurations of all exported models say, so that their waveforms can be prepared."""

    sample_rate_hz: sections.Count
    window_samples: sections.Count
    front_end: sections.FrontEnd
    audio_tower: sections.AudioTower
    """Its ``pretrained`` is empty: the weights are those of the folder."""


class ModelConfig(_Exported):
    """``config.json`` of a joint model: all that is needed to build it again before its weights are loaded."""

    format: Literal["mulan-1"] = "mulan-1"
    text_encoder: dict[str, Any]
    """Configuration of ``transformers``."""
    max_tokens: sections.Count
    embedding_dim: sections.Count


class TaggerConfig(_Exported):
    """``config.json`` of a tagger."""

    format: Literal["mulan-tagger-1"] = "mulan-tagger-1"
    classes: tuple[str, ...]
    """Tags, in the order of the logits."""


def write_model(model: nn.Module, config: ModelConfig | TaggerConfig, folder: Path) -> None:
    """Writes ``config.json`` and ``model.safetensors``.

    Args:
        model: whole in memory, on any device.
        folder: created if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def config_faults(error: ValidationError) -> list[str]:
    """What is wrong with a ``config.json``, for messages."""
    return [f"{CONFIG}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]

"""The file format of exported models: reading and writing the folders of joint models, taggers and audio encoders."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mulan.config import audio, base
from mulan.config.errors import MulanError
from mulan.config.parsing import parse_json
from mulan.config.sections import Pooling
from mulan.storage import filesystem
from mulan.storage.licence import Licence
from mulan.storage.retries import with_retries

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer"
"""Names of the two files of an exported model, and of the tokenizer's folder, which only joint models have."""
LICENCE = "LICENSE.audio_tower.txt"
"""Name of the file with the licence of a checkpoint's network, if the audio tower is one."""


TRUNK_USE = "if its audio_tower.family is neither ast nor pretrained, use it as the audio_tower.pretrained"
"""The use of a model without texts, for messages: towers of these families start from checkpoints of transformers."""


class ModelFolderError(MulanError, ValueError):
    """A model folder cannot be loaded. The message lists all of its faults."""

    def __init__(self, uri: str, faults: Sequence[str]) -> None:
        self.uri, self.faults = uri, tuple(faults)
        end = "" if faults[-1].endswith("?") else "."
        super().__init__(f"model {uri}: {'; '.join(faults)}{end} Pass a folder written by mulan's export.")

    def __reduce__(self) -> tuple[type["ModelFolderError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.uri, self.faults)  # processes that load models send it to others


class CheckpointConfig(base.Section):
    """The pretrained network of a model whose audio tower is a checkpoint's, without its weights."""

    network: dict[str, Any]
    """Configuration of the network for ``transformers``."""
    feature_extractor: dict[str, Any]
    """Values of the feature extractor for ``transformers``."""
    licence: str
    """Licence that the checkpoint's model card states, such as ``cc-by-nc-4.0``; empty if it states none."""
    licence_text: str
    """Content of the checkpoint's file ``LICENSE``; empty if there is none."""


class ExportedConfig(base.Section):
    """The fields of ``config.json`` that all exported models have: input format, front end and audio tower."""

    sample_rate_hz: base.PositiveInt
    window_samples: base.PositiveInt
    front_end: audio.FrontEndConfig
    audio_tower: audio.AudioTowerConfig
    """Configuration of the audio tower. The folder contains the weights: ``pretrained`` is empty or, if the network is
    a checkpoint's, only the name of its source."""
    checkpoint: CheckpointConfig | None = None
    """Network and feature extractor of a checkpoint of ``transformers``; None for other towers."""


class ModelConfig(ExportedConfig):
    """``config.json`` of a joint model, from which the model is rebuilt before its weights are loaded."""

    format: Literal["mulan-2"] = "mulan-2"
    text_encoder: dict[str, Any]
    """Configuration of the text encoder for ``transformers``."""
    max_tokens: base.PositiveInt
    pooling: Pooling = "cls"
    """The output of the text encoder that represents a text."""
    prefix: str = ""
    """Text before every text."""
    embedding_dim: base.PositiveInt


class TaggerConfig(ExportedConfig):
    """``config.json`` of a tagger."""

    format: Literal["mulan-tagger-2"] = "mulan-tagger-2"
    classes: tuple[str, ...]
    """Tags in the order of the logits."""


class EncoderConfig(ExportedConfig):
    """``config.json`` of an audio encoder."""

    format: Literal["mulan-encoder-2"] = "mulan-encoder-2"


def write_model(weights: Mapping[str, Tensor], config: ExportedConfig, folder: Path) -> None:
    """Writes ``config.json``, ``model.safetensors`` and, for a checkpoint's network, its licence.

    Args:
        weights: Unsharded tensors by name, on any device.
        folder: Local folder; created if necessary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if config.checkpoint is not None:
        licence = Licence(config.checkpoint.licence, config.checkpoint.licence_text)
        source = f"The audio tower was made from the weights of {config.audio_tower.pretrained}: {licence}.\n"
        (folder / LICENCE).write_text("\n".join(filter(None, (source, licence.text))), encoding="utf-8")


Config = TypeVar("Config", bound=ExportedConfig)


@dataclass(frozen=True)
class ModelFolder:
    """A local folder with an exported model. Error messages contain the path or URI that the user passed."""

    uri: str
    """Path or URI that the user passed."""
    path: Path
    """Path of the folder, or of its local copy."""

    def require(self, *names: str) -> None:
        """Checks that files or folders with these names exist.

        Raises:
            ModelFolderError: Files are missing; lists all of them.
        """
        missing = [f"{name} is missing" for name in names if not (self.path / name).exists()]
        if missing:
            raise ModelFolderError(self.uri, missing)

    def refuse(self, formats: Mapping[str, str]) -> None:
        """Rejects exported models of other formats, even if their folder is incomplete.

        Args:
            formats: The explanation for each rejected format.

        Raises:
            ModelFolderError: ``config.json`` has one of the formats.
        """
        try:
            values = parse_json((self.path / CONFIG).read_bytes())
        except (OSError, ValueError):
            return  # reported by require and config
        explanation = formats.get(str(values.get("format"))) if isinstance(values, dict) else None
        if explanation:
            raise ModelFolderError(self.uri, [explanation])

    def config(self, kind: type[Config]) -> Config:
        """Reads and validates ``config.json``.

        Raises:
            ModelFolderError: The file is not a valid configuration of this kind; lists every invalid field.
        """
        try:
            return kind.model_validate_json((self.path / CONFIG).read_bytes())
        except ValidationError as error:
            raise ModelFolderError(self.uri, config_faults(error)) from error

    def load_weights(self, model: nn.Module, *, prefix: str = "") -> None:
        """Loads ``model.safetensors`` into a model.

        Args:
            model: The model, or a part of it.
            prefix: Beginning of the names of the part's tensors, such as ``audio_encoder.``; others are not loaded.

        Raises:
            ModelFolderError: The file is corrupt, its names or shapes differ from those of the model, or it has numbers
                that are not finite.
        """
        try:
            weights = load_file(self.path / WEIGHTS)
            part = {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
            model.load_state_dict(part)
        except (SafetensorError, OSError) as error:
            raise ModelFolderError(self.uri, [f"{WEIGHTS} cannot be read: {error}"]) from error
        except RuntimeError as error:
            raise ModelFolderError(self.uri, [weights_fault(error)]) from error
        wrong = [name for name, weight in part.items() if not torch.isfinite(weight).all()]
        if wrong:
            named = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            raise ModelFolderError(
                self.uri, [f"{WEIGHTS} has numbers that are not finite, in {named}; did its training diverge?"]
            )


@contextmanager
def open_model_folder(uri: str) -> Iterator[ModelFolder]:
    """Opens the folder of an exported model; a remote one is downloaded, and the copy deleted on exit.

    Raises:
        ModelFolderError: The folder does not exist or cannot be reached.
    """
    try:
        fs, path = filesystem.url_to_fs(uri)
        exists = with_retries(f"{uri} cannot be reached", fs.isdir, path)
    except (OSError, ValueError) as error:
        raise ModelFolderError(uri, [f"cannot be reached: {error}"]) from error
    if not exists:
        raise ModelFolderError(uri, ["the folder does not exist"])
    if filesystem.is_local(uri):
        yield ModelFolder(uri, Path(path))
        return
    with tempfile.TemporaryDirectory() as download:
        copy = Path(download) / "model"
        filesystem.copy_folder(uri, str(copy))
        yield ModelFolder(uri, copy)


def weights_fault(error: RuntimeError) -> str:
    """Returns a message for weights whose names or shapes differ from those of the model."""
    return f"{WEIGHTS} does not fit {CONFIG}, or was exported by another version of mulan: {error}"


def config_faults(error: ValidationError) -> list[str]:
    """Returns a message for each invalid field of a ``config.json``."""
    return [f"{CONFIG}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]

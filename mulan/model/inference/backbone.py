"""Trained audio encoders without their heads: written to a folder, loaded from a path or URI, and used for features."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mulan.config.recipe import Recipe
from mulan.data.errors import OnError, SkippedRecording
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import (
    CONFIG,
    WEIGHTS,
    EncoderConfig,
    ModelConfig,
    ModelFolderError,
    TaggerConfig,
    config_faults,
    local_copy,
    write_model,
)
from mulan.model.inference.inputs import AudioInput, embedded, in_batches, windows_of

_WINDOWS_AT_ONCE = 16


def export_encoder(encoder: AudioEncoder, recipe: Recipe, folder: Path) -> None:
    """Writes ``config.json`` and ``model.safetensors`` for :meth:`AudioBackbone.from_pretrained`, and for the
    ``audio_tower.pretrained`` of another run.

    Args:
        encoder: of a model built from ``recipe``, whole in memory.
        folder: created if need be.
    """
    config = EncoderConfig(
        sample_rate_hz=recipe.data.sample_rate_hz,
        window_samples=recipe.encoder_window_samples,
        front_end=recipe.front_end,
        audio_tower=recipe.audio_tower.model_copy(update={"pretrained": ""}),
    )
    write_model(nn.ModuleDict({"audio_encoder": encoder}).state_dict(), config, folder)


class AudioBackbone:
    """A trained audio encoder: what MuLaP (§3.2) and SemiSupCon leave for other tasks to build on.

    Computes in float32 and without randomness; every recording passes through the network by itself.
    """

    def __init__(self, encoder: AudioEncoder, config: EncoderConfig, device: torch.device) -> None:
        self._encoder, self._config, self._device = encoder.to(device).eval(), config, device

    @classmethod
    def from_pretrained(cls, path_or_uri: str | Path, *, device: str | torch.device | None = None) -> "AudioBackbone":
        """Loads a folder that :func:`export_encoder` wrote.

        Args:
            path_or_uri: a local path, or any fsspec URI such as ``s3://bucket/run/model``.
            device: a CUDA device if there is one, otherwise the CPU, if None.

        Raises:
            ModelFolderError: the folder is missing, incomplete, or of another kind.
        """
        uri = str(path_or_uri)
        with tempfile.TemporaryDirectory() as download:
            folder = local_copy(uri, Path(download))
            absent = [f"{name} is missing" for name in (CONFIG, WEIGHTS) if not (folder / name).exists()]
            if absent:
                raise ModelFolderError(uri, absent)
            config = _config(uri, folder / CONFIG)
            encoder = _load(uri, folder / WEIGHTS, config)
        return cls(encoder, config, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that the network sees."""
        return self._config.sample_rate_hz

    @property
    def window_samples(self) -> int:
        """Length of the window that becomes one vector."""
        return self._config.window_samples

    @property
    def output_dim(self) -> int:
        """Length of a vector."""
        return self._encoder.output_dim

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
        """One vector a recording: the mean over its windows. Features of a network; their length says something.

        Args:
            paths_or_arrays: any iterable of local audio files (``~`` is expanded, ``file://`` is taken off), and of
                arrays [samples] or [channels, samples] of at most 64 channels, int16 or floating point in [-1, 1]. It
                must come to an end and have an order, and its items are all held until the last is embedded. A file
                may be of any length: memory does not depend on it.
            sample_rate_hz: of the arrays, a whole number of Hz from 1000 to 1,000,000; files know their own.
            on_error: ``"raise"`` embeds all or none: faults of arrays and addresses are told together before any file
                is read, and the first file that cannot be decoded ends the call. ``"skip"`` passes over such items.

        Returns:
            float32 [N, output_dim], in the order of the items. With ``"skip"`` a pair: the rows of what was not passed
            over, and a list of what was: a path as it was given, or ``paths_or_arrays[3]``, and the reason.

        Raises:
            EmbeddingInputError: no such iterable, ``on_error`` or ``sample_rate_hz``, whatever ``on_error`` says; an
                item that is neither a local path nor an array of sound, such as one that is turned round, in another
                range, or with samples that are not numbers.
            DecodeError: a file that is not there or cannot be decoded; names it.
        """
        vectors, skipped = embedded(paths_or_arrays, sample_rate_hz, on_error=on_error, embed=self._embed_recording)
        rows = np.array(vectors, np.float32).reshape(len(vectors), self.output_dim)
        return rows if on_error == "raise" else (rows, skipped)

    def _embed_recording(self, item: AudioInput, sample_rate_hz: int | None) -> np.ndarray:
        windows = windows_of(item, self.window_samples, sample_rate_hz=sample_rate_hz, wanted_hz=self.sample_rate_hz)
        with torch.inference_mode():
            parts = [
                self._encoder(torch.from_numpy(batch).to(self._device)).cpu()
                for batch in in_batches(windows, _WINDOWS_AT_ONCE)
            ]
        mean: np.ndarray = torch.cat(parts).double().mean(dim=0).numpy()
        return mean


def _config(uri: str, file: Path) -> EncoderConfig:
    try:
        return EncoderConfig.model_validate_json(file.read_bytes())
    except ValidationError as error:
        ours = {config.model_fields["format"].default for config in (ModelConfig, TaggerConfig)}
        if any(fault["loc"] == ("format",) and fault["input"] in ours for fault in error.errors()):
            raise ModelFolderError(
                uri,
                [
                    "it is no audio encoder alone; a model with texts is loaded with mulan.MuLan, and a tagger can be "
                    "the audio_tower.pretrained of a run"
                ],
            ) from error
        raise ModelFolderError(uri, config_faults(error)) from error


def _load(uri: str, file: Path, config: EncoderConfig) -> AudioEncoder:
    with torch.random.fork_rng(devices=[]):  # first weights are drawn only to be overwritten
        encoder = AudioEncoder(
            sample_rate_hz=config.sample_rate_hz,
            window_samples=config.window_samples,
            front_end=config.front_end,
            audio_tower=config.audio_tower,
        )
    try:
        nn.ModuleDict({"audio_encoder": encoder}).load_state_dict(load_file(file))
    except SafetensorError as error:
        raise ModelFolderError(uri, [f"{WEIGHTS} cannot be read: {error}"]) from error
    except RuntimeError as error:
        raise ModelFolderError(uri, [f"{WEIGHTS} does not fit {CONFIG}: {error}"]) from error
    return encoder

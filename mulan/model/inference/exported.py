"""The base classes of exported models: loading from a path or URI, means over windows, and embedding of audio."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self, overload

import numpy as np
import torch

from mulan.config.audio import PretrainedTowerConfig
from mulan.data.errors import OnError, SkippedRecording
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import CONFIG, ExportedConfig, ModelFolder, ModelFolderError, open_model_folder
from mulan.model.inference.inputs import (
    AudioInput,
    check_count,
    check_windows,
    in_batches,
    vectors_of_inputs,
    windows_of,
)
from mulan.model.inference.passes import WINDOWS_AT_ONCE, in_passes, windows_of_a_pass
from mulan.model.towers.audio_checkpoint import AudioCheckpoint
from mulan.storage.licence import Licence


class ExportedModel(ABC):
    """An exported model on one device, which computes a vector for each window of audio: an embedding, or tags.

    It computes in float32 and deterministically. Every recording has forward passes of its own, so its vector is
    bitwise independent of the other recordings in the call.
    """

    def __init__(self, config: ExportedConfig, device: torch.device) -> None:
        self._sample_rate_hz, self._window_samples = config.sample_rate_hz, config.window_samples
        self._device = device

    @classmethod
    def from_pretrained(cls, path_or_uri: str | Path, *, device: str | torch.device | None = None) -> Self:
        """Loads an exported model from its folder.

        Args:
            path_or_uri: A local path, or any fsspec URI such as ``s3://bucket/run/model``.
            device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.

        Raises:
            ModelFolderError: The folder is missing or incomplete, contains another kind of model, or is not compatible
                with this version of mulan.
        """
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with open_model_folder(str(path_or_uri)) as folder:
            return cls.from_folder(folder, chosen)

    @classmethod
    @abstractmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> Self:
        """Loads an exported model from its opened folder.

        Raises:
            ModelFolderError: As in :meth:`from_pretrained`.
        """

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the network's input in Hz."""
        return self._sample_rate_hz

    @property
    def window_samples(self) -> int:
        """Length of the network's input window in samples."""
        return self._window_samples

    def _mean_vectors(
        self, function: str, paths_or_arrays: Iterable[AudioInput], sample_rate_hz: int | None, on_error: OnError
    ) -> np.ndarray | tuple[np.ndarray, list[SkippedRecording]]:
        """Computes the vector of each recording for the public function of this name; see its documentation."""
        vectors, skipped = vectors_of_inputs(
            paths_or_arrays, sample_rate_hz, function=function, on_error=on_error, vector_of=self._vector_of_recording
        )
        rows = np.array(vectors, np.float32).reshape(len(vectors), self._vector_size)
        return rows if on_error == "raise" else (rows, skipped)

    def _vector_of_recording(self, item: AudioInput, sample_rate_hz: int | None) -> np.ndarray:
        windows = windows_of(
            item, self.window_samples, sample_rate_hz=sample_rate_hz, model_rate_hz=self.sample_rate_hz
        )
        return self._mean(np.concatenate([self._vectors(batch) for batch in in_batches(windows, WINDOWS_AT_ONCE)]))

    def _vectors_of_windows(self, function: str, waveform: np.ndarray, at_once: int = WINDOWS_AT_ONCE) -> np.ndarray:
        """Computes the vectors of windows, float32 [n, d], for the public function of this name.

        Raises:
            EmbeddingInputError: The argument is not an int16 array [n, window_samples].
        """
        check_windows(waveform, self.window_samples, function=function)
        return in_passes(self._vectors, waveform, at_once=at_once, dim=self._vector_size)

    def _vectors(self, windows: np.ndarray) -> np.ndarray:
        """Computes the vectors of windows, int16 [n, window_samples], in one forward pass, as float32 [n, d]."""
        with torch.inference_mode(), float32_convolutions():
            return self._network(torch.from_numpy(windows.copy()).to(self._device)).cpu().numpy()

    @property
    @abstractmethod
    def _vector_size(self) -> int:
        """Size d of a vector."""

    @abstractmethod
    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        """Computes the vectors of windows on the model's device, int16 [n, window_samples], as float32 [n, d]."""

    def _mean(self, rows: np.ndarray) -> np.ndarray:
        """Averages the vectors of a recording's windows, float32 [windows, d], to its own, float64 [d]."""
        mean: np.ndarray = torch.from_numpy(rows).double().mean(dim=0).numpy()
        return mean


@contextmanager
def float32_convolutions() -> Iterator[None]:
    """Convolves deterministically and in float32 on GPUs, where cuDNN's default is TF32, with a precision of 1e-3."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


class AudioEmbedder(ExportedModel):
    """An exported model that embeds audio."""

    def embed_windows(self, waveform: np.ndarray, *, windows_at_once: int | None = None) -> np.ndarray:
        """Embeds windows, which may belong to several recordings.

        Windows are batched, so a row can change by about 1e-6 with the other windows in its batch.

        Args:
            waveform: int16 [n, window_samples], mono.
            windows_at_once: Maximum number of windows in one forward pass, at least 1. If None, 16 on the CPU and 128
                elsewhere, or less if windows are long.

        Returns:
            float32 [n, d]; unit rows if the model is a :class:`mulan.MuLan`.

        Raises:
            EmbeddingInputError: The first argument is not an int16 array of this shape, or the second not a number of
                windows.
        """
        chosen = windows_of_a_pass(self._device.type, self.window_samples)
        at_once = chosen if windows_at_once is None else windows_at_once
        check_count("windows_at_once", at_once)
        return self._vectors_of_windows("embed_windows", waveform, at_once)

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
        """Embeds recordings: each vector is the mean over the fewest windows that cover the recording (MuLan §4.1.1).

        Windows are evenly spaced, and overlap if the recording is not a whole number of them. MuLan splits the clips of
        MagnaTagATune, of 29 s, into three segments of 10 s that do not overlap; here they overlap by 0.4 to 0.5 s.

        Args:
            paths_or_arrays: Any finite, ordered iterable of paths of local audio files (``~`` is expanded, ``file://``
                is removed) and of arrays [samples] or [channels, samples] with at most 64 channels, int16 or floating
                point in [-1, 1]. All items are kept in memory until the call returns. Files are streamed and may have
                any length.
            sample_rate_hz: Sample rate of the arrays, a whole number of Hz from 1000 to 1,000,000. Files specify their
                own.
            on_error: ``"raise"`` embeds all items or none: invalid arrays and paths are reported together before any
                file is read, and the first file that cannot be decoded raises. ``"skip"`` skips such items.

        Returns:
            float32 [N, d], in the order of the items. With ``"skip"``, a tuple of the rows of the items that were
            embedded, and a list of the skipped ones, each with its path, or its index as in ``paths_or_arrays[3]``,
            and the reason.

        Raises:
            EmbeddingInputError: The iterable, ``on_error`` or ``sample_rate_hz`` is invalid. With ``"raise"`` also: an
                item is neither a local path nor an array of audio, for example a transposed array, or one with
                samples out of range or NaN.
            DecodeError: A file does not exist or cannot be decoded, with ``"raise"`` only; the message contains its
                path.
        """
        return self._mean_vectors("embed_audio", paths_or_arrays, sample_rate_hz, on_error)


def build_audio_encoder(folder: ModelFolder, config: ExportedConfig) -> AudioEncoder:
    """Builds the audio encoder of an exported model, whose weights are loaded afterwards.

    Raises:
        ModelFolderError: ``checkpoint`` is missing in the configuration, or describes no audio encoder.
    """
    checkpoint = None
    if isinstance(config.audio_tower, PretrainedTowerConfig):
        if config.checkpoint is None:
            raise ModelFolderError(folder.uri, [f"{CONFIG}: checkpoint: it is missing, but the audio tower needs it"])
        licence = Licence(config.checkpoint.licence, config.checkpoint.licence_text)
        try:
            checkpoint = AudioCheckpoint.from_values(
                config.checkpoint.network, config.checkpoint.feature_extractor, licence
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ModelFolderError(folder.uri, [f"{CONFIG}: checkpoint: {error}"]) from error
    return AudioEncoder(
        sample_rate_hz=config.sample_rate_hz,
        window_samples=config.window_samples,
        front_end=config.front_end,
        audio_tower=config.audio_tower,
        checkpoint=checkpoint,
    )

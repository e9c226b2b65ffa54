"""What joint models and audio encoders have in common once they are exported: loading, and embedding of audio."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self, overload

import numpy as np
import torch

from mulan.data.errors import OnError, SkippedRecording
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import ExportedConfig, ModelFolder, open_model_folder
from mulan.model.inference.inputs import AudioInput, embedded, in_batches, windows_of

WINDOWS_AT_ONCE = 16
"""Number of windows of one pass through the network. Another number would move a vector by about 1e-6."""


class ExportedModel(ABC):
    """An exported model on one device. It embeds in float32 and deterministically.

    Every recording passes through the network by itself, so its vector does not depend, to the last bit, on what else
    is in the call.
    """

    def __init__(self, config: ExportedConfig, device: torch.device) -> None:
        self._sample_rate_hz, self._window_samples = config.sample_rate_hz, config.window_samples
        self._device = device

    @classmethod
    def from_pretrained(cls, path_or_uri: str | Path, *, device: str | torch.device | None = None) -> Self:
        """Loads the folder of an exported model.

        Args:
            path_or_uri: a local path, or any fsspec URI such as ``s3://bucket/run/model``.
            device: the device to compute on. None: a CUDA device if there is one, otherwise the CPU.

        Raises:
            ModelFolderError: the folder is missing or incomplete, is that of another kind of model, or does not fit
                this version of mulan.
        """
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with open_model_folder(str(path_or_uri)) as folder:
            return cls._load(folder, chosen)

    @classmethod
    @abstractmethod
    def _load(cls, folder: ModelFolder, device: torch.device) -> Self: ...

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the network's input in Hz."""
        return self._sample_rate_hz

    @property
    def window_samples(self) -> int:
        """Length of the network's input window in samples."""
        return self._window_samples

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
        """Embeds recordings: each vector is the mean over the recording's windows (MuLan §4.1.1).

        Args:
            paths_or_arrays: any finite, ordered iterable of local audio files (``~`` is expanded, ``file://`` is
                stripped) and of arrays [samples] or [channels, samples] of at most 64 channels, int16 or floating
                point in [-1, 1]. All items are held until the last one is embedded. A file may be of any length:
                memory does not depend on it.
            sample_rate_hz: sample rate of the arrays, a whole number of Hz from 1000 to 1,000,000. Files state theirs.
            on_error: ``"raise"`` embeds all or none: faulty arrays and addresses are reported together before any file
                is read, and the first file that cannot be decoded ends the call. ``"skip"`` skips such items.

        Returns:
            float32 [N, d], in the order of the items. With ``"skip"`` a pair: the rows of the items that were not
            skipped, and a list of those that were, each with its path as given, or ``paths_or_arrays[3]``, and the
            reason.

        Raises:
            EmbeddingInputError: an invalid iterable, ``on_error`` or ``sample_rate_hz``, whatever ``on_error`` says;
                an item that is neither a local path nor an array of audio, for example a transposed array, one in
                another range, or one with samples that are not numbers.
            DecodeError: a file does not exist or cannot be decoded; names it.
        """
        vectors, skipped = embedded(paths_or_arrays, sample_rate_hz, on_error=on_error, embed=self._embed_recording)
        rows = np.array(vectors, np.float32).reshape(len(vectors), self._vector_size)
        return rows if on_error == "raise" else (rows, skipped)

    def _embed_recording(self, item: AudioInput, sample_rate_hz: int | None) -> np.ndarray:
        windows = windows_of(item, self.window_samples, sample_rate_hz=sample_rate_hz, wanted_hz=self.sample_rate_hz)
        return self._mean(np.concatenate([self._pass(batch) for batch in in_batches(windows, WINDOWS_AT_ONCE)]))

    def _pass(self, windows: np.ndarray) -> np.ndarray:
        """int16 [n, window_samples], at most WINDOWS_AT_ONCE, to float32 [n, d]."""
        with torch.inference_mode():
            return self._network(torch.tensor(windows, device=self._device)).cpu().numpy()

    @property
    @abstractmethod
    def _vector_size(self) -> int:
        """d."""

    @abstractmethod
    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        """int16 [n, window_samples] to float32 [n, d]."""

    @abstractmethod
    def _mean(self, rows: np.ndarray) -> np.ndarray:
        """float32 [windows, d] to the vector of their recording, float64 [d]."""


def build_audio_encoder(config: ExportedConfig) -> AudioEncoder:
    """Builds the audio encoder of an exported model, for its weights to be loaded into."""
    return AudioEncoder(
        sample_rate_hz=config.sample_rate_hz,
        window_samples=config.window_samples,
        front_end=config.front_end,
        audio_tower=config.audio_tower,
    )

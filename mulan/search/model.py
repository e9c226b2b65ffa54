"""The model that embeds queries, which must be the one of the index."""

from collections.abc import Iterator, Sequence

import numpy as np

from mulan.data.audio.windows import covering_windows
from mulan.evaluation.encoders.encoder import Encoder
from mulan.evaluation.encoders.registry import open_encoder
from mulan.model.inference.inputs import in_batches
from mulan.model.inference.mulan import unit_mean
from mulan.model.inference.passes import WINDOWS_AT_ONCE
from mulan.search.manifest import IndexManifest


class QueryModel:
    """Embeds texts and sounds as unit vectors, float32 [d], which are compared with those of an index."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @classmethod
    def open(cls, spec: str, manifest: IndexManifest, index_uri: str, *, device: str | None = None) -> "QueryModel":
        """Loads the model of an index.

        Args:
            spec: ``[KIND=]URI`` of :func:`mulan.evaluation.encoders.registry.open_encoder`.
            manifest: Manifest of the index.
            index_uri: Folder of the index, for messages.
            device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.

        Raises:
            OtherModel: It is another model than that of the index.
            EncoderError, ModelFolderError, PretrainedError: It cannot be loaded.
            StorageError: The storage does not respond.
        """
        encoder = open_encoder(spec, device=device)
        manifest.check_model(encoder.info.sha256, spec, index_uri)
        return cls(encoder)

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of its audio in Hz."""
        return self._encoder.info.sample_rate_hz

    @property
    def window_samples(self) -> int:
        """Length of its window in samples."""
        return self._encoder.info.window_samples

    def of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts, float32 [n, d].

        Raises:
            EmbeddingInputError: A text is not valid Unicode.
        """
        return self._encoder.embed_text(texts)

    def of_sound(self, audio: bytes | str) -> np.ndarray:
        """Embeds a recording, given by its bytes or its path, as the mean of its windows, float32 [d].

        Raises:
            DecodeError: It cannot be decoded.
        """
        return self.of_windows(covering_windows(audio, self.window_samples, sample_rate_hz=self.sample_rate_hz))

    def of_windows(self, windows: Iterator[np.ndarray]) -> np.ndarray:
        """Embeds a recording, given by its windows, int16 [window_samples], as the mean of them, float32 [d]."""
        rows = [self._encoder.embed_audio(batch) for batch in in_batches(windows, WINDOWS_AT_ONCE)]
        return unit_mean(np.concatenate(rows)).astype(np.float32)

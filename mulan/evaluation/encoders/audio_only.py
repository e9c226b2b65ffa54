"""Encoders of audio alone."""

from collections.abc import Callable, Sequence

import numpy as np

from mulan.evaluation.encoders.encoder import EncoderError, EncoderInfo


class AudioOnlyEncoder:
    """An encoder without texts."""

    def __init__(self, info: EncoderInfo, embed_windows: Callable[[np.ndarray], np.ndarray]) -> None:
        """
        Args:
            info: What the encoder is.
            embed_windows: Embeds windows, int16 [n, window_samples], as float32 [n, d].
        """
        self._info, self._embed_windows = info, embed_windows

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""
        return self._info

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embeds windows, int16 [n, window_samples], as float32 [n, d].

        Raises:
            EmbeddingInputError: The argument is not an int16 array of this shape.
        """
        return self._embed_windows(windows)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Raises :class:`EncoderError`: the encoder embeds no texts."""
        raise EncoderError(f"encoder {self._info.name}: it embeds audio alone, no texts")

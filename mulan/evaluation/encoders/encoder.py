"""The interface of an encoder, which the evaluation asks for vectors of audio and text.

A model of another project needs two functions, ``embed_audio`` and ``embed_text``, to be evaluated like mulan's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mulan.config.errors import MulanError


class EncoderError(MulanError, ValueError):
    """An encoder cannot be opened, or its vectors cannot be used."""


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder is, as reports state it."""

    name: str
    """Short name, unique in a report, such as ``first`` for ``runs/first/model``."""
    kind: str
    """Kind of the encoder: a key of :data:`mulan.evaluation.encoders.registry.KINDS`."""
    uri: str
    """Path or URI that it was opened from; empty for baselines without files."""
    sha256: str
    """Digest of its content in hexadecimal, by which vectors are cached: another model, or other weights, has another
    one."""
    sample_rate_hz: int
    """Sample rate of its audio in Hz; 0 if it embeds no audio."""
    window_samples: int
    """Length of its window in samples; 0 if it embeds no audio."""
    dim: int
    """Size d of its vectors."""
    is_unit: bool
    """Whether vectors are compared by cosine similarity, so that those of a recording's windows are averaged to a unit
    vector. Otherwise their mean is kept as it is, since its norm carries information."""
    embeds_text: bool
    """Whether it embeds text in the same space as audio."""
    licence: str = ""
    """Licence of its weights, as far as it is known."""

    @property
    def embeds_audio(self) -> bool:
        """Whether it embeds audio."""
        return self.window_samples > 0


class Encoder(Protocol):
    """Embeds audio, text, or both."""

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        """Embeds windows of audio, which may belong to several recordings.

        A row does not depend on the other windows by more than 1e-6.

        Args:
            windows: int16 [n, window_samples], mono at the encoder's sample rate.

        Returns:
            float32 [n, d].
        """

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as unit rows, float32 [n, d]. Not called if ``info.embeds_text`` is False.

        A row does not depend on the other texts by more than 1e-6.
        """

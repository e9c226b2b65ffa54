"""A model of known skill: the vector of a text is a function of the text, and those of recordings are given."""

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.protocols.protocol import Evaluated
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording


class PlantedEncoder:
    """Embeds texts by a function."""

    def __init__(self, vector_of: Callable[[str], np.ndarray], dim: int) -> None:
        self._vector_of = vector_of
        self.embedded: list[str] = []
        self.info = EncoderInfo("planted", "planted", "", "0" * 64, 16_000, 16_000, dim, is_unit=True, embeds_text=True)

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        raise AssertionError("the recordings have vectors")

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += texts
        return np.array([self._vector_of(text) for text in texts], np.float32).reshape(len(texts), self.info.dim)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def random_text_vector(text: str, dim: int = 16) -> np.ndarray:
    """A model that does not understand its input."""
    return unit(np.random.default_rng(zlib.crc32(text.encode())).normal(size=dim))


def evaluated(
    recordings: Sequence[LabelledRecording],
    vectors: np.ndarray | None,
    vector_of: Callable[[str], np.ndarray],
    *,
    replicates: int = 20,
    dim: int = 0,
) -> Evaluated:
    """One window for each recording, whose vector is given; no vectors for protocols without audio."""
    audio = None
    if vectors is not None:
        audio = EmbeddedRecordings(
            tuple(recordings), vectors.astype(np.float32), np.arange(len(recordings) + 1), is_unit=True
        )
    size = dim if vectors is None else vectors.shape[1]
    return Evaluated(PlantedEncoder(vector_of, size), audio, tuple(recordings), replicates=replicates)

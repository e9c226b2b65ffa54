"""An encoder without a network, whose vectors tell sounds apart; actors load it in no time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mulan.evaluation.encoders.encoder import EncoderError, EncoderInfo

INFO = EncoderInfo("stub/1", "stub", "", "ab" * 32, 16_000, 8_000, 6, True, False)


@dataclass(frozen=True)
class StubEncoder:
    """Projects the spectrum of a window on six random directions, in float32 for all windows at once."""

    info: EncoderInfo = INFO

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        spectra = np.log(1 + np.abs(np.fft.rfft(windows.astype(np.float32), axis=1))).astype(np.float32)
        directions = np.random.default_rng(0).normal(size=(spectra.shape[1], self.info.dim)).astype(np.float32)
        # one by one: a product of matrices may add in another order for another number of rows
        rows = np.array([row @ directions for row in spectra], np.float32).reshape(len(spectra), self.info.dim)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError(texts)


class WrongShape(StubEncoder):
    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        return super().embed_audio(windows)[:-1]


class NotFinite(StubEncoder):
    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        return np.full((len(windows), 6), np.nan, np.float32)


def open_stub(*, device: str) -> StubEncoder:
    return StubEncoder(replace(INFO, uri=device))


def open_wrong(*, device: str) -> StubEncoder:
    return WrongShape()


def open_none(*, device: str) -> StubEncoder:
    raise EncoderError(f"there is no encoder for {device}")


def open_and_end(*, device: str) -> StubEncoder:
    os._exit(1)


@dataclass(frozen=True)
class Quieter:
    """Divides samples by ``1 + strength``, and refuses more than a minute."""

    strength: int
    name: str = "quieter"
    description: str = "division of samples"

    def __call__(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        assert samples.dtype == np.int16 and len(samples) <= 60 * sample_rate_hz
        return (samples // (1 + self.strength)).astype(np.int16)

"""An encoder that recognises three tones, for tests whose scores must be perfect."""

from collections.abc import Sequence

import numpy as np

from mulan.evaluation.encoders.encoder import EncoderInfo
from tests.sounds import tone

LABELS = ("a low tone", "a middle tone", "a high tone")
FREQUENCIES_HZ = (300.0, 900.0, 2700.0)
RATE_HZ, WINDOW_SAMPLES = 8000, 4000


def sound(label: int, *, seconds: float, rate_hz: int, seed: int = 0) -> np.ndarray:
    """Returns a sound of the label of this number, float32 [samples]."""
    return tone(FREQUENCIES_HZ[label], seconds, rate_hz=rate_hz, seed=seed)


class PlantedEncoder:
    """Embeds audio by its power at three frequencies, and the labels at the corners of that space."""

    def __init__(self, *, is_unit: bool = True, embeds_text: bool = True) -> None:
        self.info = EncoderInfo(
            name="planted",
            kind="function",
            uri="",
            sha256="ab" * 32,
            sample_rate_hz=RATE_HZ,
            window_samples=WINDOW_SAMPLES,
            dim=len(LABELS),
            is_unit=is_unit,
            embeds_text=embeds_text,
        )
        self.windows_of_calls: list[int] = []
        """Numbers of windows of the calls of ``embed_audio``."""

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        assert windows.dtype == np.int16
        assert windows.shape[1:] == (WINDOW_SAMPLES,)
        self.windows_of_calls.append(len(windows))
        phases = 2j * np.pi * np.outer(np.arange(WINDOW_SAMPLES) / RATE_HZ, FREQUENCIES_HZ)
        rows = np.abs(windows / 32768 @ np.exp(phases)) / WINDOW_SAMPLES + 1e-6
        if self.info.is_unit:
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        assert isinstance(texts, list)
        return np.eye(len(LABELS), dtype=np.float32)[[LABELS.index(text) for text in texts]]

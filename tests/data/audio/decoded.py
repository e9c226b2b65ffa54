"""Checks of the decoded audio of files that were encoded for a test."""

import numpy as np
import pytest

from mulan.data.audio.windows import decode_recording, decode_window, duration_s

RATE_HZ = 16_000


def check(audio: bytes, seconds: float, *, within_s: float = 0.06, tolerance: int = 1) -> np.ndarray:
    """Decodes a file and windows of it, checks their lengths and samples, and returns the whole recording."""
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert len(whole) / RATE_HZ == pytest.approx(seconds, abs=within_s)
    assert duration_s(audio) == pytest.approx(len(whole) / RATE_HZ, abs=2e-4)
    window = np.empty(len(whole) // 3, np.int16)
    for draw in (0.0, 0.61, 0.9999):
        assert decode_window(audio, window, draw=draw, sample_rate_hz=RATE_HZ) == len(window)
        start = int(draw * (len(whole) - len(window) + 1))
        assert np.abs(window.astype(int) - whole[start : start + len(window)]).max() <= tolerance
    return whole


def window_of(audio: bytes, samples: int, *, draw: float) -> np.ndarray:
    window = np.full(samples, 12_345, np.int16)  # reused memory
    decode_window(audio, window, draw=draw, sample_rate_hz=RATE_HZ)
    return window


def pitch_hz(whole: np.ndarray, from_s: float) -> float:
    """Returns the frequency of the loudest tone in one second of a recording."""
    part = whole[round(from_s * RATE_HZ) :][:RATE_HZ].astype(float) * np.hanning(RATE_HZ)
    return float(np.argmax(np.abs(np.fft.rfft(part))))

"""Sounds for tests."""

import io

import numpy as np
import soundfile


def tone(frequency_hz: float, seconds: float, *, rate_hz: int = 16_000, seed: int = 0) -> np.ndarray:
    """Returns a tone with weak noise, float32 [samples]."""
    noise = np.random.default_rng(seed).normal(0, 0.01, round(seconds * rate_hz))
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(len(noise)) / rate_hz) + noise).astype(np.float32)


def noise(seconds: float, rate_hz: int, *, loud: float) -> np.ndarray:
    return (loud * np.random.default_rng(0).standard_normal(round(seconds * rate_hz))).clip(-1, 1).astype(np.float32)


def flac(samples: np.ndarray, *, rate_hz: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def wav(samples: np.ndarray, *, rate_hz: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()

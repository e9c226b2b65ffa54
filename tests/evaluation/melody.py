"""Music whose spectrum, onsets and tempo are known."""

import numpy as np


def melody(rate_hz: int, seconds: float, *, notes_per_s: float = 4, seed: int = 0) -> np.ndarray:
    """Returns int16 [samples]: decaying notes of eight harmonics at even distances, with a peak of 24,000."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(int(rate_hz * seconds))
    time = np.arange(int(rate_hz * 0.8)) / rate_hz
    for start in range(0, len(sound), round(rate_hz / notes_per_s)):
        pitch_hz = 220 * 2 ** (rng.integers(25) / 12)
        harmonics = [np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 9) if pitch_hz * k < rate_hz / 2]
        note = rng.uniform(0.2, 1) * np.exp(-5 * time) * np.sum(harmonics, axis=0)
        part = sound[start : start + len(note)]
        part += note[: len(part)]
    return np.rint(sound / np.abs(sound).max() * 24_000).astype(np.int16)


def sine(rate_hz: int, seconds: float, hz: float, *, peak: float = 10_000) -> np.ndarray:
    """Returns int16 [samples]."""
    return np.rint(peak * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)

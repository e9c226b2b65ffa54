"""Recordings of music, and of what is not music: synthetic speech, and noises. All are float32 [samples] at 16 kHz."""

import io

import numpy as np
import soundfile
from scipy.signal import lfilter

from mulan.demo.composition import CompositionLabels, compose
from mulan.demo.genres import GENRES
from mulan.demo.rendering import SAMPLE_RATE_HZ, render_flac

RATE_HZ = SAMPLE_RATE_HZ
SYLLABLE_S = 0.25
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""First three formants of vowels of American English (Peterson and Barney 1952)."""


def music(genre: str, *, seed: int) -> np.ndarray:
    """Renders a composition of the demo, at least 21 s long."""
    moods, tempi = GENRES[genre].moods, GENRES[genre].tempi
    labels = CompositionLabels(genre=genre, mood=moods[seed % len(moods)], tempo=tempi[seed % len(tempi)])
    samples, rate_hz = soundfile.read(io.BytesIO(render_flac(compose(labels, seed=seed))), dtype="float32")
    assert rate_hz == RATE_HZ
    return _at_level(samples, seed)


def speech(seconds: float, *, seed: int) -> np.ndarray:
    """Synthesises speech-like sound: syllables at 4 Hz in phrases between pauses.

    A syllable is a glottal pulse train whose pitch falls and wavers, filtered by the formants of a vowel; about every
    other one begins with the noise of a fricative.
    """
    rng = np.random.default_rng([1, seed])
    voice_hz, size = rng.uniform(90, 230), rng.uniform(0.9, 1.15)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * RATE_HZ:
        count = int(rng.integers(3, 9))
        for number in range(count):
            pitch_hz = voice_hz * (1.25 - 0.4 * number / count) * rng.uniform(0.92, 1.08)
            parts.append(_syllable(rng, pitch_hz, [size * hz for hz in VOWELS_HZ[rng.integers(len(VOWELS_HZ))]]))
        parts.append(np.zeros(round(rng.uniform(0.2, 0.6) * RATE_HZ)))
    spoken = np.concatenate(parts)[: round(seconds * RATE_HZ)]
    return _at_level(spoken + 0.002 * rng.normal(size=len(spoken)), seed)


def noise(kind: str, seconds: float, *, seed: int) -> np.ndarray:
    """Returns white or pink noise, or the hum of an appliance with weak noise."""
    rng = np.random.default_rng([2, seed])
    white = rng.normal(size=round(seconds * RATE_HZ))
    if kind == "white":
        return _at_level(white, seed)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(white))
    if kind == "pink":
        return _at_level(pink, seed)
    phase = 2 * np.pi * rng.choice([50, 60]) * np.arange(len(white)) / RATE_HZ
    hum = sum(np.sin(k * phase + rng.uniform(0, 6)) * rng.uniform(0.3, 1) / k for k in range(1, 9))
    return _at_level(hum + 0.1 * pink / pink.std(), seed)


def _syllable(rng: np.random.Generator, pitch_hz: float, formants_hz: list[float]) -> np.ndarray:
    samples = round(SYLLABLE_S * rng.uniform(0.8, 1.2) * RATE_HZ)
    time = np.arange(samples) / samples
    wavering = 1 + 0.03 * np.sin(2 * np.pi * time + rng.uniform(0, 6)) - 0.1 * time
    cycles = np.cumsum(pitch_hz * wavering) / RATE_HZ
    pulses = np.diff(np.floor(cycles), prepend=0.0)
    sound = lfilter([1], [1, -0.95], pulses)
    for formant_hz in formants_hz:
        radius = np.exp(-np.pi * (60 + 0.05 * formant_hz) / RATE_HZ)
        poles = [1, -2 * radius * np.cos(2 * np.pi * formant_hz / RATE_HZ), radius**2]
        sound = lfilter([sum(poles)], poles, sound)
    sound = np.sin(np.pi * time) ** 2 * sound / np.abs(sound).max()
    if rng.random() < 0.5:
        fricative = np.diff(rng.normal(size=samples // 3 + 1))
        sound[: len(fricative)] += 0.1 * np.hanning(len(fricative)) * fricative
    return sound


def _at_level(samples: np.ndarray, seed: int) -> np.ndarray:
    """Sets a level from -26 to -18 dB, drawn by the seed, so that the level does not tell the kind."""
    rms = 10 ** (np.random.default_rng([3, seed]).uniform(-26, -18) / 20)
    return (rms / np.sqrt(np.mean(samples**2)) * samples).clip(-1, 1).astype(np.float32)

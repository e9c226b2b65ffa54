"""A corpus for the data benchmark: chords over pink noise, which FLAC compresses about as well as music."""

import io
from collections.abc import Iterator
from functools import cache

import numpy as np
import soundfile

from mulan.data.corpus.writing import Recording, write_corpus

RATE_HZ, SECONDS = 16_000, 30
BEAT_S, HARMONICS, NOISE = 0.5, 6, 0.004


def write_chords(uri: str, *, recordings: int) -> None:
    """Writes a corpus of mono FLAC files of 30 s at 16 kHz in the training split, with texts of every source."""
    write_corpus(_recordings(recordings), uri, recordings_per_shard=32)


def chords(number: int) -> np.ndarray:
    """Synthesises a chord of four decaying notes on every beat, over pink noise, as float32 [samples]."""
    rng = np.random.default_rng(number)
    sound = np.concatenate([sum(map(_note, rng.integers(0, 36, 4).tolist())) for _ in range(round(SECONDS / BEAT_S))])
    spectrum = np.fft.rfft(rng.normal(size=len(sound)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(sound))
    mixed = sound / np.abs(sound).max() + NOISE * noise / noise.std()
    return (0.7 * mixed / np.abs(mixed).max()).astype(np.float32)


@cache
def _note(semitones: int) -> np.ndarray:
    """Synthesises a note above 110 Hz, whose higher harmonics decay faster, as float64 [samples of a beat]."""
    time_s = np.arange(round(BEAT_S * RATE_HZ)) / RATE_HZ
    harmonics = np.arange(1, HARMONICS + 1)[:, None]
    waves = np.sin(2 * np.pi * harmonics * 110.0 * 2 ** (semitones / 12) * time_s)
    return np.sum(waves * np.exp(-3 * harmonics * time_s) / harmonics, axis=0)


def _recordings(count: int) -> Iterator[Recording]:
    for number in range(count):
        buffer = io.BytesIO()
        soundfile.write(buffer, chords(number), RATE_HZ, format="FLAC", subtype="PCM_16")
        yield Recording(
            recording_id=f"chords-{number:05d}",
            audio=buffer.getvalue(),
            extension="flac",
            duration_s=float(SECONDS),
            split="train",
            texts={
                "short_form": [f"calm chords, take {number}", "slow and mellow"],
                "long_form": [f"Soft chords on every beat over a quiet wash of noise; recording {number}."],
                "playlist": ["music for a rainy afternoon"],
                "audioset": ["Synthesizer"],
            },
            tags=["genre:ambient"],
            provenance=f"synthesized, seed {number}",
            licence="CC0-1.0",
        )

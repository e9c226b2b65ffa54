"""A corpus for the data benchmark: chords over pink noise, which FLAC compresses about as well as music."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
import soxr

from mulan.data.corpus.writing import Recording, write_corpus

RATE_HZ, SECONDS = 16_000, 30
BEAT_S, HARMONICS, NOISE = 0.5, 6, 0.004


@dataclass(frozen=True)
class AudioFormat:
    """How the recordings of the corpus are encoded."""

    extension: str
    rate_hz: int
    channels: int
    subtype: str
    """Encoding within the format, as soundfile names it."""

    def __str__(self) -> str:
        channels = {1: "mono", 2: "stereo"}[self.channels]
        return f"{self.extension.upper()}, {self.rate_hz / 1000:g} kHz {channels}"

    def encode(self, sound: np.ndarray) -> bytes:
        """Encodes samples at :data:`RATE_HZ`, float32 [samples]; of two channels, the second is quieter."""
        resampled = soxr.resample(sound, RATE_HZ, self.rate_hz) if self.rate_hz != RATE_HZ else sound
        channels = np.stack([resampled * 0.8**channel for channel in range(self.channels)], axis=1)
        buffer = io.BytesIO()
        soundfile.write(buffer, channels, self.rate_hz, format=self.extension.upper(), subtype=self.subtype)
        return buffer.getvalue()


FORMATS = {
    "flac": AudioFormat("flac", RATE_HZ, 1, "PCM_16"),
    "mp3": AudioFormat("mp3", 44_100, 2, "MPEG_LAYER_III"),
}
"""Formats by the name with which a benchmark chooses one: that of mulan's own corpora, and that of most others."""


def write_chords(uri: str, *, recordings: int, audio_format: AudioFormat = FORMATS["flac"]) -> None:
    """Writes a corpus of recordings of 30 s in the training split, with texts of every source."""
    write_corpus(_recordings(recordings, audio_format), uri, recordings_per_shard=32)


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


def _recordings(count: int, audio_format: AudioFormat) -> Iterator[Recording]:
    for number in range(count):
        yield Recording(
            recording_id=f"chords-{number:05d}",
            audio=audio_format.encode(chords(number)),
            extension=audio_format.extension,
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

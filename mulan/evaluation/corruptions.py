"""The corruptions under which models are evaluated, each at five strengths.

Guinot et al. 2024 (SemiSupCon) evaluate probes on corrupted audio. Of the parameters, their code states tempos from 0.7
to 1.3 and samples of 4 bits, which are the strongest here. The other values are this project's: one physical quantity
of each corruption in five steps, from an effect that listeners just notice to one that hides much of the music.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from mulan.evaluation.audio_effects import (
    compressed,
    low_passed,
    mp3_coded,
    noisy,
    requantised,
    reverberated,
    time_stretched,
)
from mulan.evaluation.errors import EvaluationError

STRENGTHS = (0, 1, 2, 3, 4, 5)
"""The strengths; 0 leaves audio as it is."""
_FULL_SCALE = 32767


@dataclass(frozen=True)
class CorruptionScale:
    """A kind of corruption, and what its strengths mean."""

    title: str
    """Name for people."""
    quantity: str
    """Physical quantity that grows or falls with the strength."""
    unit: str
    """Unit of the quantity; empty for plain numbers."""
    values: tuple[float, float, float, float, float]
    """Value of the quantity at strengths 1 to 5."""
    effect: Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]
    """Function of :mod:`mulan.evaluation.audio_effects`."""


CORRUPTIONS: Mapping[str, CorruptionScale] = MappingProxyType(
    {
        "time_stretch": CorruptionScale("time stretch", "tempo", "", (0.94, 0.88, 0.82, 0.76, 0.7), time_stretched),
        "reverb": CorruptionScale("reverberation", "decay time", "s", (0.25, 0.5, 1.0, 2.0, 4.0), reverberated),
        "noise": CorruptionScale("white noise", "signal-to-noise ratio", "dB", (20.0, 15.0, 10.0, 5.0, 0.0), noisy),
        "compression": CorruptionScale("compression", "ratio", "", (1.5, 2.0, 4.0, 8.0, 20.0), compressed),
        "low_pass": CorruptionScale("low-pass", "cutoff", "Hz", (4000.0, 2000.0, 1000.0, 500.0, 250.0), low_passed),
        "mp3": CorruptionScale("MP3", "bit rate", "kbit/s", (64.0, 32.0, 24.0, 16.0, 8.0), mp3_coded),
        "bit_depth": CorruptionScale("few bits", "bits per sample", "", (8.0, 7.0, 6.0, 5.0, 4.0), requantised),
    }
)
"""The corruptions by name."""


@dataclass(frozen=True)
class Corruption:
    """Corrupts recordings.

    The result depends on the recording and the sample rate only. Noise and rooms are drawn by a generator that is
    seeded by the samples, and are the same at all strengths. A result whose peak would exceed full scale is attenuated
    as a whole, and never clipped.
    """

    name: str
    """A key of :data:`CORRUPTIONS`."""
    strength: int
    """One of :data:`STRENGTHS`."""

    def __post_init__(self) -> None:
        """
        Raises:
            EvaluationError: There is no such corruption, or no such strength.
        """
        if self.name not in CORRUPTIONS:
            raise EvaluationError(f"no corruption {self.name!r}; there are {', '.join(CORRUPTIONS)}")
        if self.strength not in STRENGTHS:
            raise EvaluationError(f"no strength {self.strength!r}; corruptions have strengths from 0 to 5")

    @property
    def value(self) -> float | None:
        """Value of the corruption's quantity; None at strength 0."""
        return CORRUPTIONS[self.name].values[self.strength - 1] if self.strength else None

    @property
    def description(self) -> str:
        """What it does, such as ``white noise, signal-to-noise ratio 10 dB``."""
        if self.value is None:
            return "uncorrupted"
        scale = CORRUPTIONS[self.name]
        return f"{scale.title}, {scale.quantity} {self.value:g} {scale.unit}".rstrip()

    def __call__(self, samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Corrupts a recording.

        Args:
            samples: int16 [samples], mono; not modified.
            sample_rate_hz: Sample rate.

        Returns:
            int16 [samples], of the same length but for time stretch.
        """
        if self.value is None or not len(samples):
            return samples
        seed = hashlib.sha256(f"{self.name} {sample_rate_hz} ".encode() + samples.tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:16], "little"))
        result = CORRUPTIONS[self.name].effect(samples.astype(np.float32), sample_rate_hz, self.value, rng)
        peak = np.abs(result).max()
        if peak > _FULL_SCALE:
            result = result * (_FULL_SCALE / peak)
        return np.rint(result).astype(np.int16)

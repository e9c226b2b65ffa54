"""The section of waveform augmentation, and the pitch ratios that it allows at a sample rate."""

import math
from fractions import Fraction as Ratio
from typing import Annotated

from pydantic import Field, model_validator

from mulan.config.base import Fraction, Section

# beyond these ranges, which are far wider than any use, float32 overflows or a step takes minutes
_Decibels = Annotated[float, Field(ge=-100, le=100)]
_Decay = Annotated[float, Field(ge=-4, le=4)]
_DelayMs = Annotated[float, Field(gt=0, le=60_000)]
_Echoes = Annotated[int, Field(ge=0, le=100)]


class AugmentationConfig(Section):
    """SemiSupCon's chain of waveform augmentations, applied on the training device (Guinot et al. 2024).

    Laws, ranges and probabilities are those of the code that its authors published, with the library that it uses,
    torch-audiomentations 0.12; how a pitch is shifted is mulan's own. Whether a recording is augmented at all, and
    which kind of filter its views may get, is drawn once for the recording; everything else is drawn for each view.
    Each step's probability is conditional on the recording being augmented. All draws depend only on the seed and on
    the recording's position in the run.
    """

    probability: Fraction = 0.8
    """Probability that the views of a recording are augmented at all."""
    gain_probability: Fraction = 0.4
    """Probability of a change of gain."""
    gain_min_db: _Decibels = -15.0
    """Minimum gain in dB."""
    gain_max_db: _Decibels = 5.0
    """Maximum gain in dB."""
    polarity_probability: Fraction = 0.6
    """Probability of polarity inversion."""
    noise_probability: Fraction = 0.6
    """Probability of added coloured noise: one second, repeated."""
    noise_min_snr_db: _Decibels = 3.0
    """Minimum signal-to-noise ratio in dB."""
    noise_max_snr_db: _Decibels = 30.0
    """Maximum signal-to-noise ratio in dB."""
    noise_min_decay: _Decay = -2.0
    """Minimum exponent d of the noise's spectrum. Its amplitudes fall as 1 / g^d, where g rises linearly with frequency
    from 1 at 0 Hz to sqrt(f) at f, half the sample rate: 0 is white noise; 2 falls by 11.25 dB per octave from 500 Hz
    to 8 kHz at 22,050 Hz, almost twice as steeply as brown noise; -2 rises as steeply."""
    noise_max_decay: _Decay = 2.0
    """Maximum exponent of the noise's spectrum."""
    filter_probability: Fraction = 0.3
    """Probability of a filter, whose kind is low-pass, high-pass, band-pass or band-stop with equal probability."""
    pitch_probability: Fraction = 0.6
    """Probability of a pitch shift."""
    pitch_semitones: Annotated[float, Field(gt=0, le=12)] = 4.0
    """Maximum pitch shift in semitones, up or down. The shifts are those by ratios of divisors of the sample rate, with
    equal probability and without the ratio 1: 14 between -3.16 and 3.16 at 22,050 Hz, 4 at 16,000 Hz."""
    delay_probability: Fraction = 0.6
    """Probability of a delay, which averages the signal with a sum of delayed copies: (x + v sum_k a^k x[t - k d]) / 2,
    where k begins at 0."""
    delay_min_ms: _DelayMs = 100.0
    """Minimum delay d between echoes in milliseconds."""
    delay_max_ms: _DelayMs = 500.0
    """Maximum delay between echoes in milliseconds."""
    delay_volumes: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.3, 0.7)
    """Volumes v of the delayed sum, one of which is drawn."""
    delay_echoes: Annotated[tuple[_Echoes, ...], Field(min_length=1)] = (0, 2)
    """Numbers of echoes, the maximum of k, one of which is drawn. Without echoes, a delay only lowers the volume; this
    is half of the authors' draws, whose ``repeats`` of 1 and 3 count the undelayed term."""
    delay_attenuations: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.3, 0.7)
    """Volumes a of each echo relative to the one before, one of which is drawn."""

    @model_validator(mode="after")
    def _check_ranges(self) -> "AugmentationConfig":
        names = ("gain_{}_db", "noise_{}_snr_db", "noise_{}_decay", "delay_{}_ms")
        ranges = [(name.format("min"), name.format("max")) for name in names]
        faults = [
            f"{minimum} must not be above {maximum}"
            for minimum, maximum in ranges
            if getattr(self, minimum) > getattr(self, maximum)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self


def pitch_ratios(sample_rate_hz: int, max_semitones: float) -> list[Ratio]:
    """Returns all ratios of two divisors of the sample rate within an interval of semitones, ascending, without 1.

    These are the ratios that the library of SemiSupCon's authors draws from, because it can resample by them quickly.

    Args:
        sample_rate_hz: The sample rate in Hz, above 0.
        max_semitones: Maximum shift in semitones, up or down.

    Example:
        >>> [str(ratio) for ratio in pitch_ratios(16_000, 4)]
        ['4/5', '125/128', '128/125', '5/4']
    """
    low, high = 2 ** (-max_semitones / 12), 2 ** (max_semitones / 12)
    small = [divisor for divisor in range(1, math.isqrt(sample_rate_hz) + 1) if sample_rate_hz % divisor == 0]
    divisors = {*small, *(sample_rate_hz // divisor for divisor in small)}
    ratios = {Ratio(up, down) for up in divisors for down in divisors if up != down}
    return sorted(ratio for ratio in ratios if low <= ratio <= high)

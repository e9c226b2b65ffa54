"""The section of waveform augmentation."""

from pydantic import model_validator

from mulan.config.base import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Section


class AugmentationConfig(Section):
    """SemiSupCon's chain of waveform augmentations, applied on the training device (Guinot et al. 2024).

    Ranges and probabilities are those of the code that its authors published. Each step's probability is conditional on
    the example being augmented at all. Every example has its own draws, which depend only on the seed and on its
    position in the run.
    """

    probability: Fraction = 0.8
    """Probability that an example is augmented at all."""
    gain_probability: Fraction = 0.4
    """Probability of a change of gain."""
    gain_min_db: float = -15.0
    """Minimum gain in dB."""
    gain_max_db: float = 5.0
    """Maximum gain in dB."""
    polarity_probability: Fraction = 0.6
    """Probability of polarity inversion."""
    noise_probability: Fraction = 0.6
    """Probability of added coloured noise."""
    noise_min_snr_db: float = 3.0
    """Minimum signal-to-noise ratio in dB."""
    noise_max_snr_db: float = 30.0
    """Maximum signal-to-noise ratio in dB."""
    noise_min_decay: float = -2.0
    """Minimum exponent d of the noise's power spectrum f^-d: 0 is white, 2 is brown, -2 is violet noise."""
    noise_max_decay: float = 2.0
    """Maximum exponent of the noise's power spectrum."""
    filter_probability: Fraction = 0.3
    """Probability of one filter: low-pass, high-pass, band-pass or band-stop with equal probability."""
    pitch_probability: Fraction = 0.6
    """Probability of a pitch shift."""
    pitch_semitones: NonNegativeFloat = 4.0
    """Maximum pitch shift in semitones, up or down."""
    delay_probability: Fraction = 0.6
    """Probability of added echoes."""
    delay_min_ms: PositiveFloat = 100.0
    """Minimum delay between echoes in milliseconds."""
    delay_max_ms: PositiveFloat = 500.0
    """Maximum delay between echoes in milliseconds."""
    delay_volume: Fraction = 0.5
    """Volume of the first echo relative to the signal."""
    delay_repeats: PositiveInt = 2
    """Number of echoes."""
    delay_attenuation: Fraction = 0.5
    """Volume of each further echo relative to the one before."""

    @model_validator(mode="after")
    def _check_ranges(self) -> "AugmentationConfig":
        for name in ("gain_{}_db", "noise_{}_snr_db", "noise_{}_decay", "delay_{}_ms"):
            minimum, maximum = name.format("min"), name.format("max")
            if getattr(self, minimum) > getattr(self, maximum):
                raise ValueError(f"{minimum} must not be above {maximum}")
        return self

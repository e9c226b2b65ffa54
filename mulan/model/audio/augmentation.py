"""Waveform augmentation, batched on the training device and always in float32 (Guinot et al. 2024, "SemiSupCon").

The chain and its order are SemiSupCon's, which mostly uses the library torch-audiomentations; the ranges of the
filters, for which a recipe has no field, are that library's defaults.

All random numbers are drawn as one table of fixed size from torch's default CPU generator. The host therefore knows
which steps apply to which examples without synchronising with the device, and the same seed gives the same augmentation
on any device. Only the samples of the noise are drawn on the device, by a generator per example that is seeded from the
table: drawing and copying them on the host would take longer than queueing everything else. On a GPU their
values differ from those on a CPU, with the same spectrum and level.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mulan.config.augmentation import AugmentationConfig
from mulan.model.audio.pitch_shift import pitch_shift

_INT16_SCALE = 32768.0
_DRAWS = (
    *("change", "gain", "gain_db", "polarity", "noise", "noise_snr", "noise_decay", "noise_seed"),
    *("filter", "filter_kind", "filter_centre", "filter_bandwidth", "pitch", "semitones", "delay", "delay_ms"),
)
"""Columns of the table. A step is applied if the value in the column with its name is below its probability."""

_FILTER_RANGES_HZ = ((150.0, 7500.0), (20.0, 2400.0), (200.0, 4000.0), (200.0, 4000.0))
"""Minimum and maximum cutoff or centre frequency of each kind of ``FILTERS``."""
_BUTTERWORTH = math.sqrt(2)
_BANDWIDTH_RANGES = ((_BUTTERWORTH, _BUTTERWORTH), (_BUTTERWORTH, _BUTTERWORTH), (0.5, 1.99), (0.5, 1.99))
"""Minimum and maximum bandwidth of each kind of ``FILTERS``, relative to the centre frequency."""
_MAX_CENTRE = 0.45
"""Maximum cutoff or centre frequency as a share of the sample rate; it must stay below the Nyquist frequency."""
_DECAY_SECONDS = 0.2
"""Time after which the slowest filter, the high-pass at 20 Hz, has decayed by 150 dB."""

_WINDOW_SECONDS = 0.046
"""Window length of the phase vocoder: 1024 samples at 22,050 Hz."""


class WaveformAugmentation(nn.Module):
    """Applies gain, polarity inversion, coloured noise, a filter, pitch shift and echoes, in this order.

    It acts in training only. An example is augmented with the section's probability, and each step is then applied
    with its own probability. Each example's random numbers depend only on the seed and on its position in the batch.
    The output is not clipped and may exceed 1.
    """

    def __init__(self, section: AugmentationConfig, *, sample_rate_hz: int) -> None:
        super().__init__()
        self.section = section
        self.sample_rate_hz = sample_rate_hz
        self._steps = (
            ("gain", section.gain_probability, self._gain),
            ("polarity", section.polarity_probability, self._polarity),
            ("noise", section.noise_probability, self._noise),
            ("filter", section.filter_probability, self._filter),
            ("pitch", section.pitch_probability, self._pitch),
            ("delay", section.delay_probability, self._delay),
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Augments waveforms in training; in evaluation, converts them to float32 only.

        Args:
            waveform: [n, samples], int16 or floating point in [-1, 1]; not modified.

        Returns:
            float32 [n, samples], without gradient.
        """
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            augmented = waveform.to(torch.float32, copy=True)
            if waveform.dtype == torch.int16:
                augmented /= _INT16_SCALE
            if not self.training:
                return augmented
            table = torch.rand(len(waveform), len(_DRAWS), dtype=torch.float64, device="cpu").numpy()
            draws = dict(zip(_DRAWS, table.T, strict=True))
            for name, probability, step in self._steps:
                rows = np.flatnonzero((draws["change"] < self.section.probability) & (draws[name] < probability))
                if len(rows):
                    step_draws = {column: draw[rows] for column, draw in draws.items()}
                    indices = _on_device(rows, augmented)
                    augmented.index_copy_(0, indices, step(augmented.index_select(0, indices), step_draws))
            return augmented

    def _gain(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        gain_db = _between(self.section.gain_min_db, self.section.gain_max_db, draws["gain_db"])
        return waveform * _on_device(_amplitude(gain_db), waveform).float()[:, None]

    def _polarity(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        return -waveform

    def _noise(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        section = self.section
        decay = _between(section.noise_min_decay, section.noise_max_decay, draws["noise_decay"])
        ratio_db = _between(section.noise_min_snr_db, section.noise_max_snr_db, draws["noise_snr"])
        seeds = [int(draw * 2**53) for draw in draws["noise_seed"]]  # all bits of a float64 draw
        noise = coloured_noise(
            seeds, _on_device(decay, waveform), samples=waveform.shape[1], sample_rate_hz=self.sample_rate_hz
        )
        level = torch.linalg.vector_norm(waveform, dim=1) / torch.linalg.vector_norm(noise, dim=1)
        return waveform + noise * (level * _on_device(_amplitude(-ratio_db), waveform).float())[:, None]

    def _filter(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        kind = (draws["filter_kind"] * len(FILTERS)).astype(int)
        low_hz, high_hz = np.minimum(_FILTER_RANGES_HZ, _MAX_CENTRE * self.sample_rate_hz)[kind].T
        centre_hz = _hz(_between(_mel(low_hz), _mel(high_hz), draws["filter_centre"]))
        narrow, wide = np.array(_BANDWIDTH_RANGES)[kind].T
        bandwidth = _between(narrow, wide, draws["filter_bandwidth"])
        terms = np.array(list(FILTERS.values()))[kind]
        # zero padding for the filter's tail, which would otherwise wrap around to the beginning
        length = fast_fft_length(waveform.shape[1] + math.ceil(_DECAY_SECONDS * self.sample_rate_hz))
        response = filter_response(
            _on_device(terms, waveform),
            _on_device(centre_hz / self.sample_rate_hz, waveform),
            _on_device(bandwidth, waveform),
            bins=length // 2 + 1,
        )
        spectrum = torch.fft.rfft(waveform, n=length) * response
        return torch.fft.irfft(spectrum, n=length)[:, : waveform.shape[1]]

    def _pitch(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        limit = self.section.pitch_semitones
        ratio = 2 ** (_between(-limit, limit, draws["semitones"]) / 12)
        window_samples = 2 ** round(math.log2(_WINDOW_SECONDS * self.sample_rate_hz))
        return pitch_shift(
            waveform, _on_device(ratio, waveform), max_ratio=2 ** (limit / 12), window_samples=window_samples
        )

    def _delay(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        section = self.section
        delay_ms = _between(section.delay_min_ms, section.delay_max_ms, draws["delay_ms"])
        delay = _on_device(np.rint(delay_ms * self.sample_rate_hz / 1000).astype(int), waveform)[:, None]
        source = torch.arange(waveform.shape[1], device=waveform.device).expand_as(waveform)
        echoed = waveform.clone()
        for repeat in range(section.delay_repeats):
            source = source - delay
            echo = waveform.gather(1, source.clamp_min(0)) * (source >= 0)
            echoed += section.delay_volume * section.delay_attenuation**repeat * echo
        return echoed


def _between(low: float | np.ndarray, high: float | np.ndarray, draw: np.ndarray) -> np.ndarray:
    return low + (high - low) * draw


def _amplitude(decibels: np.ndarray) -> np.ndarray:
    return 10 ** (decibels / 20)


def _mel(hz: np.ndarray) -> np.ndarray:
    """Converts Hz to HTK's mel scale, on which cutoff and centre frequencies are uniform."""
    return 2595 * np.log10(1 + hz / 700)


def _hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def _on_device(values: np.ndarray, like: Tensor) -> Tensor:
    """Copies float64 or int64 values to the device of ``like`` asynchronously."""
    dtype = torch.int64 if values.dtype == np.int64 else torch.float64
    staged = torch.empty(values.shape, dtype=dtype, pin_memory=like.is_cuda)
    staged.numpy()[:] = values
    return staged.to(like.device, non_blocking=True)


FILTERS = {
    "low-pass": (1.0, 0.0, 0.0),
    "high-pass": (0.0, 0.0, 1.0),
    "band-pass": (0.0, 1.0, 0.0),
    "band-stop": (1.0, 0.0, 1.0),
}
"""Numerators p, q, r of the analog filters ``H(s) = (p + q s / Q + r s^2) / (1 + s / Q + s^2)``."""
_MIN_NOISE_HZ = 20.0
"""Lowest frequency of the noise."""


def coloured_noise(seeds: Sequence[int], decay: Tensor, *, samples: int, sample_rate_hz: int) -> Tensor:
    """Generates Gaussian noise with the power spectrum f^-decay above 20 Hz and zero below.

    Brown noise would otherwise have most of its power at inaudible frequencies, and its audible part would be far below
    the signal-to-noise ratio to which it is scaled.

    Args:
        seeds: n seeds; equal seeds give equal white noise on devices of the same kind.
        decay: Exponents [n], on the device of the noise: 0 is white, 2 is brown, -2 is violet noise.

    Returns:
        float32 [n, samples], at an arbitrary level.
    """
    length, device = fast_fft_length(samples), decay.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    white = torch.stack([torch.randn(length, generator=generator, device=device) for generator in generators])
    bins = torch.arange(length // 2 + 1, device=device)
    audible = bins >= max(1, _MIN_NOISE_HZ * length / sample_rate_hz)
    shape = torch.where(audible, bins.clamp_min(1) ** (-decay.float()[:, None] / 2), 0.0)
    return torch.fft.irfft(torch.fft.rfft(white) * shape, n=length)[:, :samples]


def filter_response(terms: Tensor, centre: Tensor, bandwidth: Tensor, *, bins: int) -> Tensor:
    """Computes the frequency response of biquads at equally spaced frequencies from 0 to half the sample rate.

    The filters are those of R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter coefficients": bilinear
    transforms of ``FILTERS`` with ``s = i tan(w / 2) / tan(w_centre / 2)``. Numerator and denominator are multiplied by
    the tangents' denominators, and ``1 + s^2`` is written as a product of sines: the formulas with coefficients cancel
    at low frequencies, where float32 would leave a high-pass little precision.

    Args:
        terms: [n, 3], rows of ``FILTERS``.
        centre: [n], cutoff or centre frequency as a share of the sample rate, below 1/2.
        bandwidth: [n], bandwidth 1 / Q relative to the centre frequency; the square root of 2 for Butterworth filters.

    Returns:
        complex64 [n, bins].
    """
    p, q, r = terms.float().T[:, :, None]
    half_centre = math.pi * centre.float()[:, None]
    half = torch.linspace(0, math.pi / 2, bins, device=centre.device)
    sine, cosine = torch.sin(half) * torch.cos(half_centre), torch.cos(half) * torch.sin(half_centre)
    odd = sine * cosine * bandwidth.float()[:, None]
    even = torch.sin(half_centre - half) * torch.sin(half_centre + half)
    return torch.complex(p * cosine.square() - r * sine.square(), q * odd) / torch.complex(even, odd)


def fast_fft_length(samples: int) -> int:
    """Returns the smallest number >= ``samples`` that is 4, 5 or 6 times a power of two, for fast transforms."""
    return min(m << max(0, math.ceil(math.log2(samples / m))) for m in (4, 5, 6))

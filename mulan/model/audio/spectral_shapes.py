"""Coloured noise and steep filters, the two steps of waveform augmentation that shape spectra."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

FILTERS = {
    "low-pass": (0.0, 1.0, 0.0),
    "high-pass": (1.0, -1.0, 0.0),
    "band-pass": (0.0, 1.0, -1.0),
    "band-stop": (1.0, -1.0, 1.0),
}
"""Weights by which the filters add the signal, its low-pass at the upper edge and its low-pass at the lower edge."""

_HALF_ZERO_CROSSINGS = 4
"""Number of zero crossings of the lower low-pass on each side of its impulse response."""


def coloured_noise(seeds: Sequence[int], decay: Tensor, *, samples: int, sample_rate_hz: int) -> Tensor:
    """Generates Gaussian noise of one second, repeated, whose amplitudes fall by a power of frequency.

    The amplitudes of white noise are divided by g^decay, where g rises linearly from 1 at 0 Hz to the square root of
    half the sample rate. Neighbouring frequencies below a hundred Hz are therefore about equally loud in any colour.

    Args:
        seeds: n seeds; equal seeds give equal white noise on devices of the same kind.
        decay: Exponents [n], on the device of the noise: 0 is white, 2 falls towards 12 dB per octave.

    Returns:
        float32 [n, samples]; the mean square of a whole second is 1.
    """
    device = decay.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    white = torch.stack([torch.randn(sample_rate_hz, generator=generator, device=device) for generator in generators])
    divisors = torch.linspace(1, math.sqrt(sample_rate_hz / 2), sample_rate_hz // 2 + 1, device=device)
    noise = torch.fft.irfft(torch.fft.rfft(white) * divisors ** -decay.float()[:, None], n=sample_rate_hz)
    noise = noise / noise.square().mean(dim=1, keepdim=True).sqrt()
    return noise.repeat(1, math.ceil(samples / sample_rate_hz))[:, :samples]


def half_filter_length(lower: float) -> int:
    """Returns the number of samples that the filters of :func:`steep_filter` look back, and ahead.

    Args:
        lower: Lower edge as a share of the sample rate.
    """
    return int(_HALF_ZERO_CROSSINGS / lower)


def steep_filter(waveform: Tensor, weights: Tensor, lower: Tensor, upper: Tensor, *, half_length: int) -> Tensor:
    """Filters waveforms by differences of low-passes, each a sinc in a Hann window.

    A low-pass attenuates by 6 dB at its cutoff and by more than 60 dB at 1.5 times the cutoff. Both low-passes of a
    band have the window of the lower one, so that the upper edge of a wide band is steeper still. There is no delay,
    and the first and the last sample are continued outside the waveform.

    Args:
        waveform: float32 [n, samples].
        weights: [n, 3], rows of ``FILTERS``.
        lower: float64 [n], lower edge of the band as a share of the sample rate, in (0, 1/2]; equal to ``upper`` for
            low-pass and high-pass filters.
        upper: float64 [n], upper edge of the band, or the cutoff, as a share of the sample rate, at most 1/2.
        half_length: Maximum of :func:`half_filter_length` over the lower edges.

    Returns:
        float32 [n, samples].
    """
    # float64, since the stop-band of a band-stop is a difference of nearly equal numbers
    direct, at_upper, at_lower = weights.double().T[:, :, None]
    window_half = torch.floor(_HALF_ZERO_CROSSINGS / lower)
    taps = at_upper * _low_pass_taps(upper, window_half, half_length)
    taps += at_lower * _low_pass_taps(lower, window_half, half_length)
    taps[:, :1] += direct
    length = fast_fft_length(waveform.shape[1] + 2 * half_length)
    response = torch.fft.rfft(taps, n=length).real.float()
    padded = nn.functional.pad(waveform, (half_length, half_length), mode="replicate")
    filtered = torch.fft.irfft(torch.fft.rfft(padded, n=length) * response, n=length)
    return filtered[:, half_length : half_length + waveform.shape[1]]


def _low_pass_taps(cutoff: Tensor, window_half: Tensor, half_length: int) -> Tensor:
    """Returns the causal half [n, half_length + 1] of symmetric impulse responses, doubled but for the middle.

    The real part of its transform is the response of the whole. The response at 0 Hz is 1.
    """
    time = torch.arange(half_length + 1, device=cutoff.device, dtype=torch.float64)
    window = 0.5 + 0.5 * torch.cos(math.pi * (time / window_half[:, None]).clamp_max(1))
    taps = window * torch.sinc(2 * cutoff[:, None] * time)
    taps[:, 1:] *= 2
    return taps / taps.sum(dim=1, keepdim=True)


def fast_fft_length(samples: int) -> int:
    """Returns the smallest number >= ``samples`` that is 4, 5 or 6 times a power of two, for fast transforms."""
    return min(m << max(0, math.ceil(math.log2(samples / m))) for m in (4, 5, 6))

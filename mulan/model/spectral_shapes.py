"""Shapes of spectra: coloured noise, and the responses of biquad filters."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FILTERS = {
    "low-pass": (1.0, 0.0, 0.0),
    "high-pass": (0.0, 0.0, 1.0),
    "band-pass": (0.0, 1.0, 0.0),
    "band-stop": (1.0, 0.0, 1.0),
}
"""Numerators of the analog filters ``H(s) = (p + q s / Q + r s^2) / (1 + s / Q + s^2)``: p, q and r."""
_LOWEST_HZ = 20.0
"""Of the noise."""


def coloured_noise(seeds: Sequence[int], decay: Tensor, *, samples: int, sample_rate_hz: int) -> Tensor:
    """Gaussian noise whose power falls by frequency to the minus ``decay``, with nothing below 20 Hz.

    Brown noise would otherwise have most of its power where nobody hears it, and what is heard would be far below the
    level that it is brought to.

    Args:
        seeds: n; equal ones give equal white noise on devices of one kind.
        decay: [n], on the device of the noise: 0 is white, 2 is brown, -2 is violet.

    Returns:
        float32 [n, samples], of any level.
    """
    length, device = transform_length(samples), decay.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    white = torch.stack([torch.randn(length, generator=generator, device=device) for generator in generators])
    bins = torch.arange(length // 2 + 1, device=device)
    heard = bins >= max(1, _LOWEST_HZ * length / sample_rate_hz)
    shape = torch.where(heard, bins.clamp_min(1) ** (-decay.float()[:, None] / 2), 0.0)
    return torch.fft.irfft(torch.fft.rfft(white) * shape, n=length)[:, :samples]


def filter_response(terms: Tensor, centre: Tensor, bandwidth: Tensor, *, bins: int) -> Tensor:
    """Biquads at equally spaced frequencies from 0 to half the sample rate.

    They are those of R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter coefficients": the bilinear
    transforms of ``FILTERS``, with ``s = i tan(w / 2) / tan(w_centre / 2)``. Fractions are reduced by the tangents'
    denominators, and ``1 + s^2`` is a product of sines: the formulas with the coefficients cancel at low frequencies,
    where float32 would leave a high-pass little precision.

    Args:
        terms: [n, 3], rows of ``FILTERS``.
        centre: [n], the cutoff or the middle of the band as a share of the sample rate, below 1/2.
        bandwidth: [n], as a share of the centre: 1 / Q, which is the square root of 2 for Butterworth's.

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


def transform_length(samples: int) -> int:
    """The least number from ``samples`` on that is 4, 5 or 6 times a power of two: lengths of fast transforms."""
    return min(m << max(0, math.ceil(math.log2(samples / m))) for m in (4, 5, 6))

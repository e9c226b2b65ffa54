"""Pitch shift of a batch by one rational ratio: a phase vocoder whose frames are resampled by their own transforms."""

import math
from fractions import Fraction

import torch
from torch import Tensor, nn

_OVERLAP = 4
"""Number of frames over each sample."""
_UNITS = 2**24
"""Units per full turn of phase. Phases are accumulated as integers, whose sums are bitwise equal in any order."""


def pitch_shift(waveform: Tensor, ratio: Fraction, *, window_samples: int) -> Tensor:
    """Multiplies all frequencies by ``ratio`` without changing the duration.

    A phase vocoder (Flanagan and Golden 1966) analyses frames of N samples and synthesises frames of N / ratio samples
    around the same positions. The inverse transform thereby resamples each frame, without interpolation. N is a
    multiple of the ratio's numerator, so that lengths and hops are whole numbers. Frequencies that would exceed half
    the sample rate are removed.

    Args:
        waveform: float32 [n, samples].
        ratio: Above 0. N is ``8 * ratio.numerator`` or more.
        window_samples: Approximate length N of the analysis window.

    Returns:
        float32 [n, samples].
    """
    samples, device = waveform.shape[1], waveform.device
    scale = _even_smooth_number(window_samples / (_OVERLAP * ratio.numerator))
    advance, hop = scale * ratio.numerator, scale * ratio.denominator
    analysed, synthesised = _OVERLAP * advance, _OVERLAP * hop
    # frame k is centred at sample (k - 1) * hop, and every sample is in four of the synthesised frames
    frames = math.ceil((samples - 1) / hop) + 3
    silence = hop + analysed // 2
    padded = nn.functional.pad(waveform, (silence, silence + hop + advance))
    window = torch.hann_window(analysed, device=device)
    bins = min(analysed, synthesised) // 2 + 1
    spectrum = torch.fft.rfft(padded.unfold(-1, analysed, hop)[:, :frames] * window)[:, :, :bins]
    later = torch.fft.rfft(padded[:, advance:].unfold(-1, analysed, hop)[:, : frames - 1] * window)[:, :, :bins]
    parts = torch.fft.irfft(_accumulate_phases(spectrum, later), n=synthesised)
    # the squares of the windows over a sample sum to 3 / 8 of their number; a shorter inverse transform is louder
    parts *= torch.hann_window(synthesised, device=device) * (synthesised / (0.375 * _OVERLAP * analysed))
    start = hop + synthesised // 2
    return _sum_of_overlapping(parts)[:, start : start + samples]


def _accumulate_phases(spectrum: Tensor, later: Tensor) -> Tensor:
    """Replaces the phases of frames by sums of advances; those of the first frame are kept.

    In the synthesised frames, a quarter of a frame passes from one to the next. The phase of a bin therefore advances
    as in the signal over a quarter of an analysed frame.

    Args:
        spectrum: complex64 [n, frames, bins].
        later: complex64 [n, frames - 1, bins], the spectra a quarter of a frame later.

    Returns:
        complex64 [n, frames, bins], with the magnitudes of ``spectrum``.
    """
    phase, advance = spectrum.angle(), later.angle()
    advance -= phase[:, :-1]
    advance *= _UNITS / math.tau
    # a sum that leaves the range of int32 wraps around by whole turns
    total = advance.to(torch.int32).cumsum(dim=1, dtype=torch.int32).bitwise_and_(_UNITS - 1)
    turned_by = phase[:, :1] - phase
    turned_by[:, 1:].add_(total, alpha=math.tau / _UNITS)
    turned = torch.empty_like(spectrum)
    torch.cos(turned_by, out=turned.real)
    torch.sin(turned_by, out=turned.imag)
    turned *= spectrum
    return turned


def _sum_of_overlapping(parts: Tensor) -> Tensor:
    """Adds frames [n, frames, 4 * hop] at distances of ``hop`` to [n, (frames + 3) * hop]."""
    n, frames, _ = parts.shape
    pieces = parts.view(n, frames, _OVERLAP, -1)
    total = parts.new_zeros(n, frames + _OVERLAP - 1, pieces.shape[-1])
    for piece in range(_OVERLAP):
        total[:, piece : piece + frames] += pieces[:, :, piece]
    return total.flatten(1)


def _even_smooth_number(near: float) -> int:
    """Returns the even number of the form m 2^k, m in (1, 3, 5), that is nearest to ``near``, for fast transforms."""
    powers = range(1, max(2, math.ceil(math.log2(near + 1)) + 1))
    return min((m << power for m in (1, 3, 5) for power in powers), key=lambda number: abs(number - near))

"""Batched pitch shift by a phase vocoder, with a ratio per example."""

import math

import torch
from torch import Tensor, nn

_OVERSAMPLING = 2
"""Oversampling factor of the stretched signal, for accurate cubic interpolation between its samples."""
_UNITS = 2**40
"""Units per full turn of phase. Phases are accumulated as integers, whose sums are bitwise equal in any order."""


def pitch_shift(waveform: Tensor, ratio: Tensor, *, max_ratio: float, window_samples: int) -> Tensor:
    """Multiplies all frequencies by ``ratio`` without changing the duration.

    A phase vocoder with a hop of a quarter window (Flanagan and Golden 1966) stretches the signal by the ratio, and the
    result is resampled to the original length. Shapes depend only on ``max_ratio``, not on the random ratios.
    Frequencies that would exceed half the sample rate are removed.

    Args:
        waveform: float32 [n, samples].
        ratio: float64 [n], above 0.
        max_ratio: Upper bound of ``ratio``.
        window_samples: Length of the analysis window, a multiple of 4.

    Returns:
        float32 [n, samples].
    """
    samples, hop = waveform.shape[1], window_samples // 4
    # frame k is centred at sample k * hop; the last two are silent and represent all later frames
    framed = nn.functional.pad(waveform, (2 * hop, 6 * hop)).unfold(-1, window_samples, hop)
    spectrum = torch.fft.rfft(framed * torch.hann_window(window_samples, device=waveform.device))
    frames = math.ceil(samples * max_ratio / hop) + 4
    stretched = _overlap_add(_stretch(spectrum, ratio, frames=frames), window_samples=window_samples)
    position = torch.arange(samples, device=waveform.device, dtype=torch.float64) * ratio[:, None]
    return _interpolate(stretched, _OVERSAMPLING * (position + hop))


def _stretch(spectrum: Tensor, ratio: Tensor, *, frames: int) -> Tensor:
    """Stretches spectra [n, frames_in, bins] in time by ``ratio`` to [n, frames, bins].

    The magnitude of frame k is interpolated at input position ``k / ratio``. Input and output have the same hop,
    so the phase of each bin advances from frame to frame as between the two input frames around that position.
    """
    n, frames_in, bins = spectrum.shape
    magnitude, phase = spectrum.abs(), spectrum.angle()
    position = (torch.arange(frames, device=ratio.device) / ratio[:, None]).clamp_max(frames_in - 2)
    before = position.long()
    example = torch.arange(n, device=ratio.device)[:, None]
    weight = (position - before).float()[:, :, None]
    interpolated = torch.lerp(magnitude[example, before], magnitude[example, before + 1], weight)
    advance = (phase.diff(dim=1) * (_UNITS / math.tau)).round().long()[example, before]
    is_kept = torch.arange(bins, device=ratio.device) * ratio[:, None] < bins - 1
    # full turns are removed before the conversion to float32, to keep its precision
    advanced = (advance.cumsum(dim=1) - advance) % _UNITS
    return torch.polar(interpolated * is_kept[:, None], phase[:, :1] + advanced * (math.tau / _UNITS))


def _overlap_add(spectrum: Tensor, *, window_samples: int) -> Tensor:
    """Computes the oversampled signal from its spectra [n, frames, bins].

    The signal begins a quarter of a window before the centre of frame 0. ``torch.istft`` is not used, since it
    synchronises with the device to check that the sum of the windows is nowhere zero.
    """
    wide = _OVERSAMPLING * window_samples
    window = torch.hann_window(wide, device=spectrum.device)
    parts = torch.fft.irfft(spectrum, n=wide) * (_OVERSAMPLING * window)
    weights = window.square().expand(1, spectrum.shape[1], wide)
    return _sum_of_overlapping(parts) / _sum_of_overlapping(weights)


def _sum_of_overlapping(parts: Tensor) -> Tensor:
    """Overlap-adds frames [n, frames, wide] with a hop of a quarter, without the first, where all windows are 0."""
    n, frames, wide = parts.shape
    total = parts.new_zeros(n, frames + 3, wide // 4)
    for quarter in range(4):
        total[:, quarter : quarter + frames] += parts.reshape(n, frames, 4, wide // 4)[:, :, quarter]
    return total[:, 1:].flatten(1)


def _interpolate(signal: Tensor, position: Tensor) -> Tensor:
    """Interpolates [n, samples] at float64 [n, positions] by Catmull-Rom cubics through the 4 surrounding samples."""
    first = position.long()
    x = (position - first).float()
    a, b, c, d = (signal.gather(1, first + offset) for offset in (-1, 0, 1, 2))
    return b + x / 2 * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))

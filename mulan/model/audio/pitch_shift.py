"""Pitch shift by a phase vocoder, batched, each example by a ratio of its own."""

import math

import torch
from torch import Tensor, nn

_OVERSAMPLING = 2
"""Of the stretched signal, so that a cubic can follow it between samples."""
_UNITS = 2**40
"""A turn has so many: phases are added up as whole numbers, whose sums have the same bits in any order."""


def pitch_shift(waveform: Tensor, ratio: Tensor, *, max_ratio: float, window_samples: int) -> Tensor:
    """Multiplies all frequencies, and keeps length and time: a phase vocoder, whose output is then read faster.

    The signal is stretched by the ratio with frames a quarter of a window apart (Flanagan and Golden 1966), then read
    at the ratio's speed. Shapes follow from the greatest ratio, so that they do not depend on draws. What would rise
    above half of the sample rate is dropped.

    Args:
        waveform: float32 [n, samples].
        ratio: float64 [n], above 0.
        max_ratio: no ratio is above it.
        window_samples: a multiple of 4.

    Returns:
        float32 [n, samples].
    """
    samples, hop = waveform.shape[1], window_samples // 4
    # frame k has sample k * hop in its middle; the last two are silent, and stand for all that follow
    given = nn.functional.pad(waveform, (2 * hop, 6 * hop)).unfold(-1, window_samples, hop)
    spectrum = torch.fft.rfft(given * torch.hann_window(window_samples, device=waveform.device))
    frames = math.ceil(samples * max_ratio / hop) + 4
    stretched = _overlap_add(_stretched(spectrum, ratio, frames=frames), window_samples=window_samples)
    position = torch.arange(samples, device=waveform.device, dtype=torch.float64) * ratio[:, None]
    return _read(stretched, _OVERSAMPLING * (position + hop))


def _stretched(spectrum: Tensor, ratio: Tensor, *, frames: int) -> Tensor:
    """Spectra of a signal that lasts ``ratio`` times as long: [n, given, bins] to [n, frames, bins].

    Frame k has the magnitude of place ``k / ratio`` among those given. As given frames are as far apart as the new
    ones, a bin's phase advances from each to the next as it does there between the frames around that place.
    """
    n, given, bins = spectrum.shape
    magnitude, phase = spectrum.abs(), spectrum.angle()
    place = (torch.arange(frames, device=ratio.device) / ratio[:, None]).clamp_max(given - 2)
    before = place.long()
    example = torch.arange(n, device=ratio.device)[:, None]
    share = (place - before).float()[:, :, None]
    between = torch.lerp(magnitude[example, before], magnitude[example, before + 1], share)
    advance = (phase.diff(dim=1) * (_UNITS / math.tau)).round().long()[example, before]
    is_heard = torch.arange(bins, device=ratio.device) * ratio[:, None] < bins - 1
    # whole turns are dropped before they cost places of a float32
    advanced = (advance.cumsum(dim=1) - advance) % _UNITS
    return torch.polar(between * is_heard[:, None], phase[:, :1] + advanced * (math.tau / _UNITS))


def _overlap_add(spectrum: Tensor, *, window_samples: int) -> Tensor:
    """The signal of which [n, frames, bins] are spectra, oversampled.

    It begins a quarter of a window before the middle of frame 0. ``torch.istft`` would do, but waits for the device to
    see whether the windows add up to nothing anywhere.
    """
    wide = _OVERSAMPLING * window_samples
    window = torch.hann_window(wide, device=spectrum.device)
    parts = torch.fft.irfft(spectrum, n=wide) * (_OVERSAMPLING * window)
    weights = window.square().expand(1, spectrum.shape[1], wide)
    return _sum_of_overlapping(parts) / _sum_of_overlapping(weights)


def _sum_of_overlapping(parts: Tensor) -> Tensor:
    """Of [n, frames, wide], each a quarter behind the last; without the first quarter, where all windows begin at 0."""
    n, frames, wide = parts.shape
    total = parts.new_zeros(n, frames + 3, wide // 4)
    for quarter in range(4):
        total[:, quarter : quarter + frames] += parts.reshape(n, frames, 4, wide // 4)[:, :, quarter]
    return total[:, 1:].flatten(1)


def _read(signal: Tensor, position: Tensor) -> Tensor:
    """Catmull and Rom's cubic through the 4 samples around each position: [n, samples] at float64 [n, positions]."""
    first = position.long()
    x = (position - first).float()
    a, b, c, d = (signal.gather(1, first + offset) for offset in (-1, 0, 1, 2))
    return b + x / 2 * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))

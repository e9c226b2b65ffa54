"""Waveform augmentation, batched on the training device and always in float32 (Guinot et al. 2024, "SemiSupCon").

The chain, its order and its laws are those of the code that SemiSupCon's authors published and of the library that it
uses, torch-audiomentations 0.12. Two details differ: filters whose edges exceed half the sample rate, which the library
refuses, end there; and pitches are shifted by another phase vocoder, with windows three times as long.

All random numbers are drawn as one table of fixed size from torch's default CPU generator. The host therefore knows
which steps apply to which examples without synchronising with the device, and the same seed gives the same augmentation
on any device. Only the samples of the noise are drawn on the device, by a generator per example that is seeded from the
table: drawing and copying them on the host would take longer than queueing everything else. On a GPU their
values differ from those on a CPU, with the same spectrum and level.
"""

import numpy as np
import torch
from torch import Tensor, nn

from mulan.config.augmentation import AugmentationConfig, pitch_ratios
from mulan.model.audio.pitch_shift import pitch_shift
from mulan.model.audio.spectral_shapes import FILTERS, coloured_noise, half_filter_length, steep_filter

_INT16_SCALE = 32768.0
_DRAWS = (
    *("change", "gain", "gain_db", "polarity", "noise", "noise_snr", "noise_decay", "noise_seed"),
    *("filter", "filter_kind", "filter_centre", "filter_bandwidth", "pitch", "pitch_ratio"),
    *("delay", "delay_ms", "delay_volume", "delay_echoes", "delay_attenuation"),
)
"""Columns of the table. A step is applied if the value in the column with its name is below its probability."""
_SHARED_DRAWS = [_DRAWS.index("change"), _DRAWS.index("filter_kind")]
"""Columns whose values are shared by the views of a recording: the authors augment the views as one batch, for which
the library draws once whether it changes them, and one kind of filter."""

_FILTER_RANGES_HZ = ((150.0, 7500.0), (200.0, 2400.0), (200.0, 4000.0), (200.0, 4000.0))
"""Minimum and maximum cutoff or centre frequency of each kind of ``FILTERS``."""
_BANDWIDTH_RANGES = ((0.0, 0.0), (0.0, 0.0), (0.5, 1.99), (0.5, 1.99))
"""Minimum and maximum bandwidth of each kind of ``FILTERS``, as a share of the centre frequency."""

_WINDOW_SECONDS = 0.046
"""Approximate window length of the phase vocoder: about 1000 samples at 22,050 Hz."""


class WaveformAugmentation(nn.Module):
    """Applies gain, polarity inversion, coloured noise, a filter, pitch shift and echoes, in this order.

    It acts in training only. All views of a recording are augmented with the section's probability, or none, and each
    step is then applied to each view with its own probability. The random numbers depend only on the seed and on the
    position in the batch. The output is not clipped and may exceed 1.
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
        self._pitch_ratios = pitch_ratios(sample_rate_hz, section.pitch_semitones)

    def forward(self, waveform: Tensor) -> Tensor:
        """Augments waveforms in training; in evaluation, converts them to float32 only.

        Args:
            waveform: [m, views, samples], or [m, samples] for one view of each recording; int16 or floating point in
                [-1, 1]; not modified.

        Returns:
            float32 of the same shape, without gradient.
        """
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            augmented = waveform.to(torch.float32, copy=True)
            if waveform.dtype == torch.int16:
                augmented /= _INT16_SCALE
            if not self.training:
                return augmented
            augmented = augmented.flatten(0, -2)
            recordings = len(waveform)
            draws = _draw(recordings, views=len(augmented) // max(1, recordings))
            for name, probability, step in self._steps:
                rows = np.flatnonzero((draws["change"] < self.section.probability) & (draws[name] < probability))
                if len(rows):
                    step_draws = {column: draw[rows] for column, draw in draws.items()}
                    indices = _on_device(rows, augmented)
                    augmented.index_copy_(0, indices, step(augmented.index_select(0, indices), step_draws))
            return augmented.view(waveform.shape)

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
        level = waveform.square().mean(dim=1).sqrt() * _on_device(_amplitude(-ratio_db), waveform).float()
        return waveform + noise * level[:, None]

    def _filter(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        kind = _choose(len(FILTERS), draws["filter_kind"])
        low_hz, high_hz = np.minimum(_FILTER_RANGES_HZ, self.sample_rate_hz / 2)[kind].T
        centre_hz = _hz(_between(_mel(low_hz), _mel(high_hz), draws["filter_centre"]))
        narrow, wide = np.array(_BANDWIDTH_RANGES)[kind].T
        half_band = centre_hz * _between(narrow, wide, draws["filter_bandwidth"]) / 2
        lower, upper = (
            np.minimum(hz / self.sample_rate_hz, 0.5) for hz in (centre_hz - half_band, centre_hz + half_band)
        )
        return steep_filter(
            waveform,
            _on_device(np.array(list(FILTERS.values()))[kind], waveform),
            _on_device(lower, waveform),
            _on_device(upper, waveform),
            half_length=half_filter_length(lower.min()),
        )

    def _pitch(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        number = _choose(len(self._pitch_ratios), draws["pitch_ratio"])
        shifted = torch.empty_like(waveform)
        for chosen in np.unique(number):
            indices = _on_device(np.flatnonzero(number == chosen), waveform)
            part = pitch_shift(
                waveform.index_select(0, indices),
                self._pitch_ratios[chosen],
                window_samples=round(_WINDOW_SECONDS * self.sample_rate_hz),
            )
            shifted.index_copy_(0, indices, part)
        return shifted

    def _delay(self, waveform: Tensor, draws: dict[str, np.ndarray]) -> Tensor:
        section = self.section
        low, high = (int(ms * self.sample_rate_hz / 1000) for ms in (section.delay_min_ms, section.delay_max_ms))
        delay = _on_device(low + _choose(high - low + 1, draws["delay_ms"]), waveform)[:, None]
        volume, echoes, attenuation = (
            np.array(choices)[_choose(len(choices), draws[name])]
            for name, choices in (
                ("delay_volume", section.delay_volumes),
                ("delay_echoes", section.delay_echoes),
                ("delay_attenuation", section.delay_attenuations),
            )
        )
        source = torch.arange(waveform.shape[1], device=waveform.device).expand_as(waveform)
        delayed = waveform * _on_device((1 + volume) / 2, waveform).float()[:, None]
        for echo in range(1, max(section.delay_echoes) + 1):
            source = source - delay
            level = _on_device(np.where(echo <= echoes, volume * attenuation**echo / 2, 0), waveform).float()[:, None]
            delayed.addcmul_(waveform.gather(1, source.clamp_min(0)), level * (source >= 0))
        return delayed


def _draw(recordings: int, *, views: int) -> dict[str, np.ndarray]:
    """Draws the table: float64 in [0, 1), [recordings * views], for each of the columns."""
    table = torch.rand(recordings, views, len(_DRAWS), dtype=torch.float64, device="cpu").numpy()
    table[:, :, _SHARED_DRAWS] = table[:, :1, _SHARED_DRAWS]
    return dict(zip(_DRAWS, table.reshape(-1, len(_DRAWS)).T, strict=True))


def _choose(count: int, draw: np.ndarray) -> np.ndarray:
    """Returns int64 numbers from 0 to ``count - 1``, uniform like the draws."""
    return (draw * count).astype(np.int64)


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

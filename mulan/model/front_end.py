"""Log-mel spectrogram and SpecAugment, on the device of the model and always in float32."""

import torch
import torchaudio.functional as audio
from torch import Tensor, nn

from mulan.config.sections import FrontEnd

_INT16_SCALE = 32768.0


class LogMel(nn.Module):
    """Normalised log-mel spectrogram (MuLan §3.2; the defaults are those of Hershey et al. 2017).

    Frame k is the samples ``[k * hop, k * hop + window)``: no padding, and an incomplete last frame is dropped.
    Periodic Hann window, FFT of the next power of two, magnitude, triangular filters on the HTK mel scale,
    ``(log(mel + log_offset) - mean) / deviation``.
    """

    def __init__(self, section: FrontEnd, *, sample_rate_hz: int) -> None:
        super().__init__()
        self.section = section
        self.window_samples = round(section.window_ms * sample_rate_hz / 1000)
        self.hop_samples = round(section.hop_ms * sample_rate_hz / 1000)
        self.fft_size = 1 << (self.window_samples - 1).bit_length()
        filters = audio.melscale_fbanks(
            self.fft_size // 2 + 1,
            section.mel_low_hz,
            section.mel_high_hz,
            section.mel_channels,
            sample_rate_hz,
            norm=None,
            mel_scale="htk",
        )
        # not persistent: both follow from the section, so a checkpoint need not repeat them
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def frames(self, samples: int) -> int:
        """Number of frames of a waveform of so many samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform to spectrogram.

        Args:
            waveform: [..., samples], int16 or floating point in [-1, 1].

        Returns:
            float32 [..., mel_channels, frames].
        """
        # the logarithm of a magnitude rounded to bfloat16 would lose all that is near the floor
        with torch.autocast(waveform.device.type, enabled=False):
            scaled = waveform.float() / _INT16_SCALE if waveform.dtype == torch.int16 else waveform.float()
            # the transform wants fft_size samples a frame, with the window in their middle
            left = (self.fft_size - self.window_samples) // 2
            right = self.fft_size - self.window_samples - left
            magnitude = audio.spectrogram(
                nn.functional.pad(scaled, (left, right)),
                pad=0,
                window=self.window,
                n_fft=self.fft_size,
                hop_length=self.hop_samples,
                win_length=self.window_samples,
                power=1.0,
                normalized=False,
                center=False,
            )
            mel = (magnitude.mT @ self.filters).mT
            normalised: Tensor = (torch.log(mel + self.section.log_offset) - self.section.mean) / self.section.deviation
            return normalised


class SpecAugment(nn.Module):
    """One frequency and one time mask an example, in training only (Park et al. 2019; MuLan §3.2).

    A mask's width is uniform in ``[0, widest)`` and its place uniform along the axis. Masked values become 0, the mean
    of the normalised spectrogram. Draws come from torch's default generator of the spectrogram's device.
    """

    def __init__(self, section: FrontEnd) -> None:
        super().__init__()
        self.frequency_mask_bins = section.frequency_mask_bins
        self.time_mask_frames = section.time_mask_frames

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Masks a spectrogram [..., mel_channels, frames] with at least one leading dimension."""
        if not self.training:
            return spectrogram
        frequency_axis, time_axis = spectrogram.ndim - 2, spectrogram.ndim - 1
        masked = audio.mask_along_axis_iid(spectrogram, self.frequency_mask_bins, 0.0, frequency_axis)
        masked_twice: Tensor = audio.mask_along_axis_iid(masked, self.time_mask_frames, 0.0, time_axis)
        return masked_twice

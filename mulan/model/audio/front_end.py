"""Front ends, which compute the input of audio towers from waveforms, and SpecAugment.

All of them run on the device of the model, always in float32.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
import torchaudio.compliance.kaldi as kaldi
import torchaudio.functional as audio
from torch import Tensor, nn

from mulan.config.audio import (
    DecibelFrontEndConfig,
    KaldiFrontEndConfig,
    MelFrontEndConfig,
    VggishFrontEndConfig,
    WaveformFrontEndConfig,
)

_INT16_SCALE = 32768.0
_KALDI_FLOOR = torch.finfo(torch.float32).eps
"""Kaldi's minimum energy of a mel channel, 1.1920929e-07."""
_DECIBEL_FLOOR = 1e-10
"""Minimum power, -100 dB; lower values are clamped to it."""


Front = TypeVar("Front", bound=MelFrontEndConfig)


class _MelSpectrogram(nn.Module, ABC, Generic[Front]):
    """A mel spectrogram whose values are compressed, then normalised: ``(compressed - mean) / std``.

    Frame k contains the samples ``[k * hop, k * hop + window)``, without padding; an incomplete last frame is dropped.
    The FFT size is the window length, rounded up to a power of two.
    """

    window: Tensor
    """Window function, float32 [window_samples]."""
    filters: Tensor
    """Mel filter bank, float32 [fft_size / 2 + 1, mel_channels]."""

    def __init__(self, section: Front, *, sample_rate_hz: int) -> None:
        super().__init__()
        self.section = section
        self.window_samples = round(section.window_ms * sample_rate_hz / 1000)
        self.hop_samples = round(section.hop_ms * sample_rate_hz / 1000)
        self.fft_size = 1 << (self.window_samples - 1).bit_length()
        window, filters = self._window_and_filters(sample_rate_hz)
        # not persistent: both are computed from the section, so they need not be in checkpoints
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def frames(self, samples: int) -> int:
        """Returns the number of frames in the spectrogram of a waveform with this number of samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Computes the spectrogram of a waveform, in float32 even under autocast.

        Args:
            waveform: [..., samples], int16 or floating point in [-1, 1].

        Returns:
            float32 [..., mel_channels, frames].
        """
        # in bfloat16, rounding would lose all detail near the floor
        with torch.autocast(waveform.device.type, enabled=False):
            mel = (self._spectrum(_scaled(waveform)) @ self.filters).mT
            return (self._compress(mel) - self.section.mean) / self.section.std

    @abstractmethod
    def _window_and_filters(self, sample_rate_hz: int) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _spectrum(self, waveform: Tensor) -> Tensor:
        """Computes magnitudes or powers, [..., frames, fft_size / 2 + 1], from float32 [..., samples]."""

    @abstractmethod
    def _compress(self, mel: Tensor) -> Tensor:
        """Compresses mel values [..., mel_channels, frames] before normalisation; the shape is unchanged."""


class _HtkMel(_MelSpectrogram[Front]):
    """A mel spectrogram with a periodic Hann window and triangular filters of height 1.

    The edges of the filters are equally spaced on the HTK mel scale, and each rises and falls linearly in Hz.
    """

    _EXPONENT: float
    """Exponent of the spectrum: 1 for magnitudes, 2 for powers."""

    def _window_and_filters(self, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
        filters = audio.melscale_fbanks(
            self.fft_size // 2 + 1,
            self.section.mel_min_hz,
            self.section.mel_max_hz,
            self.section.mel_channels,
            sample_rate_hz,
            norm=None,
            mel_scale="htk",
        )
        return torch.hann_window(self.window_samples), filters

    def _spectrum(self, waveform: Tensor) -> Tensor:
        # torch pads the window on both sides to fft_size, so frames have fft_size samples with the window in the middle
        left = (self.fft_size - self.window_samples) // 2
        right = self.fft_size - self.window_samples - left
        spectrum: Tensor = audio.spectrogram(
            nn.functional.pad(waveform, (left, right)),
            pad=0,
            window=self.window,
            n_fft=self.fft_size,
            hop_length=self.hop_samples,
            win_length=self.window_samples,
            power=self._EXPONENT,
            normalized=False,
            center=False,
        )
        return spectrum.mT


class LogMel(_HtkMel[VggishFrontEndConfig]):
    """The normalised log-mel spectrogram of VGGish (MuLan §3.2; the defaults are those of Hershey et al. 2017).

    It is computed from magnitudes: ``(log(mel + log_offset) - mean) / std``. The filters of VGGish's public code are
    linear in mel instead of in Hz, which changes ``log(mel + log_offset)`` by at most 0.014 for noise and tones.
    """

    _EXPONENT = 1.0

    def _compress(self, mel: Tensor) -> Tensor:
        return torch.log(mel + self.section.log_offset)


class DecibelMel(_HtkMel[DecibelFrontEndConfig]):
    """The power mel spectrogram in decibels, musicnn's front end in the code of MuLaP's authors (MuLaP §3.1).

    The decibels, ``10 log10(max(mel, 1e-10))``, are clamped to ``range_db`` below the maximum of their own waveform,
    then normalised: ``(decibels - mean) / std``. Segments of 3 s have 186 frames; the code of MuLaP's authors centers
    frames on multiples of the hop, and has one more at each end, which is partly padding.
    """

    _EXPONENT = 2.0

    def _compress(self, mel: Tensor) -> Tensor:
        decibels = audio.amplitude_to_DB(mel, multiplier=10.0, amin=_DECIBEL_FLOOR, db_multiplier=0.0)
        # torchaudio's top_db would use the maximum over a whole batch of spectrograms
        return torch.maximum(decibels, decibels.amax(dim=(-2, -1), keepdim=True) - self.section.range_db)


class KaldiLogMel(_MelSpectrogram[KaldiFrontEndConfig]):
    """The log-mel spectrogram on which the public AST checkpoints were trained (Gong et al. 2021; MuLan §3.2, M-AST).

    It equals that of ``ASTFeatureExtractor`` in ``transformers``, without the padding to 1024 frames: the mean of each
    frame is subtracted; pre-emphasis, in which the first sample is its own predecessor; a symmetric Hann window; the
    power spectrum; Kaldi's triangular mel filters; and ``(log(max(mel, 1.1920929e-07)) - mean) / std``.
    """

    def _window_and_filters(self, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
        filters, _ = kaldi.get_mel_banks(
            self.section.mel_channels,
            self.fft_size,
            sample_rate_hz,
            self.section.mel_min_hz,
            self.section.mel_max_hz,
            vtln_low=100.0,  # warping is off: its factor is 1
            vtln_high=-500.0,
            vtln_warp_factor=1.0,
        )
        # Kaldi's filters do not include the Nyquist frequency
        padded = nn.functional.pad(filters, (0, 1)).T.contiguous()
        return torch.hann_window(self.window_samples, periodic=False), padded

    def _spectrum(self, waveform: Tensor) -> Tensor:
        frames = waveform.unfold(-1, self.window_samples, self.hop_samples)
        centred = frames - frames.mean(dim=-1, keepdim=True)
        predecessors = torch.cat([centred[..., :1], centred[..., :-1]], dim=-1)
        emphasised = centred - self.section.preemphasis * predecessors
        return torch.fft.rfft(emphasised * self.window, n=self.fft_size).abs().square()

    def _compress(self, mel: Tensor) -> Tensor:
        return torch.log(mel.clamp_min(_KALDI_FLOOR))


class Waveform(nn.Module):
    """The waveform itself, for towers that need no spectrogram (Lee et al. 2017)."""

    def forward(self, waveform: Tensor) -> Tensor:
        """Converts int16 or floating point in [-1, 1] to float32 in [-1, 1], [..., samples]."""
        return _scaled(waveform)

    def frames(self, samples: int) -> int:
        """Returns 0: a waveform has no frames."""
        return 0


def front_end(
    section: MelFrontEndConfig | WaveformFrontEndConfig, *, sample_rate_hz: int
) -> LogMel | KaldiLogMel | DecibelMel | Waveform:
    """Builds the front end of a recipe, other than a checkpoint's feature extractor."""
    if isinstance(section, WaveformFrontEndConfig):
        return Waveform()
    if isinstance(section, KaldiFrontEndConfig):
        return KaldiLogMel(section, sample_rate_hz=sample_rate_hz)
    if isinstance(section, DecibelFrontEndConfig):
        return DecibelMel(section, sample_rate_hz=sample_rate_hz)
    return LogMel(section, sample_rate_hz=sample_rate_hz)


class SpecAugment(nn.Module):
    """Applies one frequency mask and one time mask per example, in training only (Park et al. 2019; MuLan §3.2).

    The width of a mask is uniform in ``[0, max_width)`` and its position uniform along the axis. Masked values become
    0, the mean of the normalised spectrogram; AST's own recipe (Gong et al. 2021) sets them to 0 before normalisation.
    Random numbers come from torch's default generator of the spectrogram's device.
    """

    def __init__(self, section: MelFrontEndConfig) -> None:
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


def _scaled(waveform: Tensor) -> Tensor:
    """Converts a waveform to float32 in [-1, 1]."""
    return waveform.float() / _INT16_SCALE if waveform.dtype == torch.int16 else waveform.float()

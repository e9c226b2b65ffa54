"""What audio towers see of a waveform, and SpecAugment: on the device of the model and always in float32."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
import torchaudio.compliance.kaldi as kaldi
import torchaudio.functional as audio
from torch import Tensor, nn

from mulan.config.audio import (
    DecibelFrontEndConfig,
    FrontEndConfig,
    KaldiFrontEndConfig,
    MelFrontEndConfig,
    VggishFrontEndConfig,
    WaveformFrontEndConfig,
)

_INT16_SCALE = 32768.0
_KALDI_FLOOR = torch.finfo(torch.float32).eps
"""Kaldi's least energy of a mel channel, 1.1920929e-07."""
_DECIBEL_FLOOR = 1e-10
"""Least power that is told from silence: -100 dB."""


Front = TypeVar("Front", bound=MelFrontEndConfig)


class _MelSpectrogram(nn.Module, ABC, Generic[Front]):
    """A mel spectrogram whose values are compressed, then normalised: ``(compressed - mean) / std``.

    Frame k is the samples ``[k * hop, k * hop + window)``: no padding, and an incomplete last frame is dropped. The
    FFT has the next power of two.
    """

    window: Tensor
    """float32 [window_samples]."""
    filters: Tensor
    """float32 [fft_size / 2 + 1, mel_channels]."""

    def __init__(self, section: Front, *, sample_rate_hz: int) -> None:
        super().__init__()
        self.section = section
        self.window_samples = round(section.window_ms * sample_rate_hz / 1000)
        self.hop_samples = round(section.hop_ms * sample_rate_hz / 1000)
        self.fft_size = 1 << (self.window_samples - 1).bit_length()
        window, filters = self._window_and_filters(sample_rate_hz)
        # not persistent: both follow from the section, so a checkpoint need not repeat them
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def frames(self, samples: int) -> int:
        """Returns the number of frames of a waveform of this many samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Computes the spectrogram of a waveform, in float32 also under autocast.

        Args:
            waveform: [..., samples], int16 or floating point in [-1, 1].

        Returns:
            float32 [..., mel_channels, frames].
        """
        # the logarithm of a magnitude rounded to bfloat16 would lose all that is near the floor
        with torch.autocast(waveform.device.type, enabled=False):
            mel = (self._spectrum(_scaled(waveform)) @ self.filters).mT
            return (self._compress(mel) - self.section.mean) / self.section.std

    @abstractmethod
    def _window_and_filters(self, sample_rate_hz: int) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _spectrum(self, waveform: Tensor) -> Tensor:
        """float32 [..., samples] to magnitudes or powers, [..., frames, fft_size / 2 + 1]."""

    @abstractmethod
    def _compress(self, mel: Tensor) -> Tensor:
        """Mel values [..., mel_channels, frames] to values that are to be normalised, of the same shape."""


class _HtkMel(_MelSpectrogram[Front]):
    """Periodic Hann window, and triangular filters of height 1 on the HTK mel scale."""

    _EXPONENT: float
    """1 for magnitudes, 2 for powers."""

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
        # the transform wants fft_size samples a frame, with the window in their middle
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
    """Normalised log-mel spectrogram (MuLan §3.2; the defaults are those of Hershey et al. 2017).

    Computed from magnitudes: ``(log(mel + log_offset) - mean) / std``.
    """

    _EXPONENT = 1.0

    def _compress(self, mel: Tensor) -> Tensor:
        return torch.log(mel + self.section.log_offset)


class DecibelMel(_HtkMel[DecibelFrontEndConfig]):
    """Power mel spectrogram in decibels, the front end of musicnn (Pons et al. 2016; MuLaP §3.1).

    ``10 log10(max(mel, 1e-10))``, raised to ``range_db`` below the loudest value of its own waveform, then
    ``(decibels - mean) / std``.
    """

    _EXPONENT = 2.0

    def _compress(self, mel: Tensor) -> Tensor:
        decibels = audio.amplitude_to_DB(mel, multiplier=10.0, amin=_DECIBEL_FLOOR, db_multiplier=0.0)
        # torchaudio's own top_db takes one maximum over a whole batch of spectrograms
        return torch.maximum(decibels, decibels.amax(dim=(-2, -1), keepdim=True) - self.section.range_db)


class KaldiLogMel(_MelSpectrogram[KaldiFrontEndConfig]):
    """The spectrogram that the public AST checkpoints were trained on (Gong et al. 2021; MuLan §3.2, M-AST).

    What ``ASTFeatureExtractor`` of ``transformers`` computes, without its padding to 1024 frames: each frame less its
    mean, pre-emphasis whose first sample is its own predecessor, symmetric Hann window, FFT of the next power of two,
    power, Kaldi's triangular mel filters, ``(log(max(mel, 1.1920929e-07)) - mean) / std``.
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
        # Kaldi's filters leave out the highest frequency of the transform
        whole = nn.functional.pad(filters, (0, 1)).T.contiguous()
        return torch.hann_window(self.window_samples, periodic=False), whole

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
        """[..., samples], int16 or floating point in [-1, 1], to float32 [..., samples] in [-1, 1]."""
        return _scaled(waveform)

    def frames(self, samples: int) -> int:
        """None, of any waveform."""
        return 0


def front_end(section: FrontEndConfig, *, sample_rate_hz: int) -> LogMel | KaldiLogMel | DecibelMel | Waveform:
    """The front end of a recipe."""
    if isinstance(section, WaveformFrontEndConfig):
        return Waveform()
    if isinstance(section, KaldiFrontEndConfig):
        return KaldiLogMel(section, sample_rate_hz=sample_rate_hz)
    if isinstance(section, DecibelFrontEndConfig):
        return DecibelMel(section, sample_rate_hz=sample_rate_hz)
    return LogMel(section, sample_rate_hz=sample_rate_hz)


class SpecAugment(nn.Module):
    """One frequency and one time mask an example, in training only (Park et al. 2019; MuLan §3.2).

    A mask's width is uniform in ``[0, widest)`` and its place uniform along the axis. Masked values become 0, the mean
    of the normalised spectrogram; AST's own recipe (Gong et al. 2021) instead sets them to 0 before it normalises.
    Draws come from torch's default generator of the spectrogram's device.
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
    """float32 in [-1, 1]."""
    return waveform.float() / _INT16_SCALE if waveform.dtype == torch.int16 else waveform.float()

"""What audio towers see of a waveform, and SpecAugment: on the device of the model and always in float32."""

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


class _Frames(nn.Module):
    """Frame k is the samples ``[k * hop, k * hop + window)``: no padding, and an incomplete last frame is dropped."""

    window: Tensor
    """float32 [window_samples]."""
    filters: Tensor
    """float32 [fft_size / 2 + 1, mel_channels]."""

    def __init__(self, section: MelFrontEndConfig, *, sample_rate_hz: int) -> None:
        super().__init__()
        self.window_samples = round(section.window_ms * sample_rate_hz / 1000)
        self.hop_samples = round(section.hop_ms * sample_rate_hz / 1000)
        self.fft_size = 1 << (self.window_samples - 1).bit_length()

    def frames(self, samples: int) -> int:
        """Number of frames of a waveform of so many samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)


class _HtkMel(_Frames):
    """Periodic Hann window, FFT of the next power of two, and triangular filters of height 1 on the HTK mel scale."""

    def __init__(self, section: VggishFrontEndConfig | DecibelFrontEndConfig, *, sample_rate_hz: int) -> None:
        super().__init__(section, sample_rate_hz=sample_rate_hz)
        filters = audio.melscale_fbanks(
            self.fft_size // 2 + 1,
            section.mel_min_hz,
            section.mel_max_hz,
            section.mel_channels,
            sample_rate_hz,
            norm=None,
            mel_scale="htk",
        )
        # not persistent: both follow from the section, so a checkpoint need not repeat them
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def _mel(self, waveform: Tensor, *, power: float) -> Tensor:
        """Waveform [..., samples] to float32 [..., mel_channels, frames], of magnitudes to the power of ``power``."""
        # the transform wants fft_size samples a frame, with the window in their middle
        left = (self.fft_size - self.window_samples) // 2
        right = self.fft_size - self.window_samples - left
        spectrum = audio.spectrogram(
            nn.functional.pad(_scaled(waveform), (left, right)),
            pad=0,
            window=self.window,
            n_fft=self.fft_size,
            hop_length=self.hop_samples,
            win_length=self.window_samples,
            power=power,
            normalized=False,
            center=False,
        )
        mel: Tensor = (spectrum.mT @ self.filters).mT
        return mel


class LogMel(_HtkMel):
    """Normalised log-mel spectrogram (MuLan §3.2; the defaults are those of Hershey et al. 2017).

    Of magnitudes: ``(log(mel + log_offset) - mean) / std``.
    """

    def __init__(self, section: VggishFrontEndConfig, *, sample_rate_hz: int) -> None:
        super().__init__(section, sample_rate_hz=sample_rate_hz)
        self.section = section

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform to spectrogram.

        Args:
            waveform: [..., samples], int16 or floating point in [-1, 1].

        Returns:
            float32 [..., mel_channels, frames].
        """
        # the logarithm of a magnitude rounded to bfloat16 would lose all that is near the floor
        with torch.autocast(waveform.device.type, enabled=False):
            mel = self._mel(waveform, power=1.0)
            normalised: Tensor = (torch.log(mel + self.section.log_offset) - self.section.mean) / self.section.std
            return normalised


class DecibelMel(_HtkMel):
    """Power mel spectrogram in decibels, the front end of musicnn (Pons et al. 2016; MuLaP §3.1).

    ``10 log10(max(mel, 1e-10))``, raised to ``range_db`` below the loudest value of its own waveform, then
    ``(decibels - mean) / std``.
    """

    def __init__(self, section: DecibelFrontEndConfig, *, sample_rate_hz: int) -> None:
        super().__init__(section, sample_rate_hz=sample_rate_hz)
        self.section = section

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform to spectrogram.

        Args:
            waveform: [..., samples], int16 or floating point in [-1, 1].

        Returns:
            float32 [..., mel_channels, frames].
        """
        with torch.autocast(waveform.device.type, enabled=False):
            mel = self._mel(waveform, power=2.0)
            decibels = audio.amplitude_to_DB(mel, multiplier=10.0, amin=_DECIBEL_FLOOR, db_multiplier=0.0)
            # torchaudio's own top_db takes one maximum over a whole batch of spectrograms
            quietest = decibels.amax(dim=(-2, -1), keepdim=True) - self.section.range_db
            normalised: Tensor = (torch.maximum(decibels, quietest) - self.section.mean) / self.section.std
            return normalised


class KaldiLogMel(_Frames):
    """The spectrogram that the public AST checkpoints were trained on (Gong et al. 2021; MuLan §3.2, M-AST).

    What ``ASTFeatureExtractor`` of ``transformers`` computes, without its padding to 1024 frames: each frame less its
    mean, pre-emphasis whose first sample is its own predecessor, symmetric Hann window, FFT of the next power of two,
    power, Kaldi's triangular mel filters, ``(log(max(mel, 1.1920929e-07)) - mean) / std``.
    """

    def __init__(self, section: KaldiFrontEndConfig, *, sample_rate_hz: int) -> None:
        super().__init__(section, sample_rate_hz=sample_rate_hz)
        self.section = section
        filters, _ = kaldi.get_mel_banks(
            section.mel_channels,
            self.fft_size,
            sample_rate_hz,
            section.mel_min_hz,
            section.mel_max_hz,
            vtln_low=100.0,  # warping is off: its factor is 1
            vtln_high=-500.0,
            vtln_warp_factor=1.0,
        )
        # Kaldi's filters leave out the highest frequency of the transform
        self.register_buffer("filters", nn.functional.pad(filters, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_samples, periodic=False), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform to spectrogram.

        Args:
            waveform: [..., samples], int16 or floating point in [-1, 1].

        Returns:
            float32 [..., mel_channels, frames].
        """
        with torch.autocast(waveform.device.type, enabled=False):
            frames = _scaled(waveform).unfold(-1, self.window_samples, self.hop_samples)
            centred = frames - frames.mean(dim=-1, keepdim=True)
            predecessors = torch.cat([centred[..., :1], centred[..., :-1]], dim=-1)
            emphasised = centred - self.section.preemphasis * predecessors
            power = torch.fft.rfft(emphasised * self.window, n=self.fft_size).abs().square()
            logarithm = torch.log((power @ self.filters).clamp_min(_KALDI_FLOOR))
            normalised: Tensor = (logarithm - self.section.mean) / self.section.std
            return normalised.mT


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

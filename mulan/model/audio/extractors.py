"""The feature extractors of pretrained audio encoders, on the device of the model and always in float32.

Each computes what an extractor of ``transformers`` computes on the host, and takes its values from that extractor.
"""

from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers import (
    ASTFeatureExtractor,
    ClapFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from mulan.config.audio import KaldiFrontEndConfig
from mulan.model.audio.front_end import KaldiLogMel, Waveform

Extractor: TypeAlias = Wav2Vec2FeatureExtractor | WhisperFeatureExtractor | ClapFeatureExtractor | ASTFeatureExtractor

_VARIANCE_OFFSET = 1e-7
"""Offset that ``Wav2Vec2FeatureExtractor`` adds to the variance."""
_POWER_FLOOR = 1e-10
"""Minimum power of a mel channel, of Whisper and CLAP."""
_WHISPER_RANGE = 8.0
"""Dynamic range of Whisper's spectrogram in powers of ten."""


class NormalizedWaveform(nn.Module):
    """The waveform, with zero mean and unit variance if the extractor normalizes (``Wav2Vec2FeatureExtractor``)."""

    def __init__(self, extractor: Wav2Vec2FeatureExtractor) -> None:
        super().__init__()
        self._normalizes = bool(extractor.do_normalize)
        self._scale = Waveform()

    def forward(self, waveform: Tensor) -> Tensor:
        """Converts int16 or floating point in [-1, 1] to float32, [n, samples]."""
        scaled: Tensor = self._scale(waveform)
        if not self._normalizes:
            return scaled
        variance, mean = torch.var_mean(scaled, dim=-1, correction=0, keepdim=True)
        return (scaled - mean) / torch.sqrt(variance + _VARIANCE_OFFSET)


class WhisperLogMel(nn.Module):
    """Whisper's log-mel spectrogram of the waveform, padded with silence to 30 s (``WhisperFeatureExtractor``)."""

    window: Tensor
    """Window function, float32 [n_fft]."""
    filters: Tensor
    """Mel filter bank, float32 [mel_channels, n_fft / 2 + 1]."""

    def __init__(self, extractor: WhisperFeatureExtractor) -> None:
        super().__init__()
        self._samples, self._padding = extractor.n_samples, extractor.padding_value
        self._fft_size, self._hop_samples = extractor.n_fft, extractor.hop_length
        self._scale = Waveform()
        self.register_buffer("window", torch.hann_window(self._fft_size), persistent=False)
        self.register_buffer("filters", torch.from_numpy(extractor.mel_filters).float().T, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps int16 or floating point in [-1, 1], [n, samples], to float32 [n, mel_channels, frames]."""
        with torch.autocast(waveform.device.type, enabled=False):
            scaled = self._scale(waveform)
            padded = nn.functional.pad(scaled, (0, self._samples - scaled.shape[-1]), value=self._padding)
            power = _power(padded, self.window, self._hop_samples)[..., :-1]
            log = (self.filters @ power).clamp_min(_POWER_FLOOR).log10()
            log = torch.maximum(log, log.amax(dim=(-2, -1), keepdim=True) - _WHISPER_RANGE)
            return (log + 4) / 4

    def frames_of(self, samples: int) -> int:
        """Returns the number of frames whose centre is in a waveform of this length; the others contain padding."""
        return -(-samples // self._hop_samples)


class ClapLogMel(nn.Module):
    """CLAP's mel spectrogram in decibels of the waveform, filled up to 10 s (``ClapFeatureExtractor``).

    A shorter waveform is repeated, padded, or both, as the extractor says. It is never longer, so that the extractor's
    random choice of a part, and the fusion of several parts, are not needed.
    """

    window: Tensor
    """Window function, float32 [fft_size]."""
    filters: Tensor
    """Mel filter bank, float32 [mel_channels, fft_size / 2 + 1]."""

    def __init__(self, extractor: ClapFeatureExtractor) -> None:
        super().__init__()
        self._samples, self._padding = extractor.nb_max_samples, extractor.padding
        self._hop_samples = extractor.hop_length
        self._scale = Waveform()
        # the extractor's own rule: checkpoints with fusion were trained with other filters
        filters = extractor.mel_filters if extractor.truncation == "fusion" else extractor.mel_filters_slaney
        self.register_buffer("window", torch.hann_window(extractor.fft_window_size), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters).float().T, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps int16 or floating point in [-1, 1], [n, samples], to float32 [n, 1, frames, mel_channels]."""
        with torch.autocast(waveform.device.type, enabled=False):
            power = _power(self._filled(self._scale(waveform)), self.window, self._hop_samples)
            decibels = 10 * (self.filters @ power).clamp_min(_POWER_FLOOR).log10()
            return decibels.mT.unsqueeze(1)

    def _filled(self, waveform: Tensor) -> Tensor:
        whole, rest = divmod(self._samples, waveform.shape[-1])
        if self._padding == "repeat":
            waveform = waveform.repeat(1, whole + (rest > 0))[:, : self._samples]
        elif self._padding == "repeatpad":
            waveform = waveform.repeat(1, whole)
        return nn.functional.pad(waveform, (0, self._samples - waveform.shape[-1]))


class AstLogMel(nn.Module):
    """The spectrogram of AST (``ASTFeatureExtractor``): that of :class:`KaldiLogMel`, padded to a fixed length.

    As in the extractor, the padding is 0 before the normalisation.
    """

    def __init__(self, extractor: ASTFeatureExtractor) -> None:
        super().__init__()
        section = ast_section(extractor)
        self._frames = extractor.max_length
        self._padding = -section.mean / section.std
        self.spectrogram = KaldiLogMel(section, sample_rate_hz=extractor.sampling_rate)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps int16 or floating point in [-1, 1], [n, samples], to float32 [n, frames, mel_channels]."""
        spectrogram = self.spectrogram(waveform)
        return nn.functional.pad(spectrogram, (0, self._frames - spectrogram.shape[-1]), value=self._padding).mT


def ast_section(extractor: ASTFeatureExtractor) -> KaldiFrontEndConfig:
    """Returns the front end section with the values of an AST checkpoint's extractor; its masks are the defaults."""
    return KaldiFrontEndConfig(
        mel_channels=extractor.num_mel_bins,
        mel_max_hz=extractor.sampling_rate / 2,
        mean=extractor.mean if extractor.do_normalize else 0.0,
        std=2 * extractor.std if extractor.do_normalize else 1.0,
    )


ExtractorFrontEnd = NormalizedWaveform | WhisperLogMel | ClapLogMel | AstLogMel


def extractor_front_end(extractor: Extractor) -> ExtractorFrontEnd:
    """Builds the front end that computes what an extractor of ``transformers`` does."""
    if isinstance(extractor, WhisperFeatureExtractor):
        return WhisperLogMel(extractor)
    if isinstance(extractor, ClapFeatureExtractor):
        return ClapLogMel(extractor)
    if isinstance(extractor, ASTFeatureExtractor):
        return AstLogMel(extractor)
    return NormalizedWaveform(extractor)


def _power(waveform: Tensor, window: Tensor, hop_samples: int) -> Tensor:
    """Computes the power spectrum, [n, fft_size / 2 + 1, frames], of frames centred at the multiples of the hop."""
    spectrum = torch.stft(waveform, len(window), hop_samples, window=window, return_complex=True)
    return spectrum.abs().square()

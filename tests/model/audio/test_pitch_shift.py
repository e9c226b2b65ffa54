"""Tests the pitch shift alone and as a step of the augmentation."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchaudio.functional as audio
from torch import Tensor

from mulan.model.audio.pitch_shift import pitch_shift
from tests.model.waveforms import augmented, chain, ratio_db, sines, white

RATIOS = [Fraction(ratio) for ratio in ("1/2", "4/5", "5/6", "49/50", "1", "50/49", "25/21", "5/4", "3/2", "2")]

AUTHORS_RATIOS = [
    *("5/6", "21/25", "6/7", "9/10", "45/49", "14/15", "49/50"),
    *("50/49", "15/14", "49/45", "10/9", "7/6", "25/21", "6/5"),
]
"""The ratios that torch-audiomentations 0.12.0 draws from at 22,050 Hz and +-4 semitones, from its ``PitchShift``."""


def shifted(waveform: Tensor, ratio: Fraction) -> Tensor:
    return pitch_shift(waveform, ratio, window_samples=512)


def peaks(waveform: Tensor) -> np.ndarray:
    """Returns the peak frequencies as shares of the sample rate, interpolated between bins by a parabola."""
    samples = waveform.shape[1]
    spectra = np.log(np.abs(np.fft.rfft(waveform.double().numpy() * np.hanning(samples))) + 1e-12)
    at = spectra.argmax(axis=1)
    left, middle, right = (spectra[np.arange(len(at)), np.clip(at + k, 0, samples // 2)] for k in (-1, 0, 1))
    return (at + (left - right) / (2 * (left - 2 * middle + right))) / samples


@pytest.mark.parametrize("ratio", RATIOS)
def test_pitch_multiplies_the_frequency_of_a_sine(ratio: Fraction) -> None:
    for share in (0.01, 0.06, 0.2):
        (found,) = peaks(shifted(sines(1, 6000, share=share), ratio))
        assert abs(found / (share * ratio) - 1) < 1e-3


@pytest.mark.parametrize("share", [0.02, 0.11, 0.23])
@pytest.mark.parametrize("ratio", AUTHORS_RATIOS)
def test_a_shifted_sine_is_a_sine(share: float, ratio: str) -> None:
    """The output contains little but the expected frequency, at about the same level."""
    output = shifted(sines(1, 6000, share=share), Fraction(ratio))[0].double().numpy()
    phase = 2 * math.pi * share * float(Fraction(ratio)) * np.arange(6000)
    inner = slice(1000, -1000)
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)[inner]
    parts, residual, _, _ = np.linalg.lstsq(basis, output[inner], rcond=None)
    assert residual[0] < 10**-4.5 * np.square(output[inner]).sum()
    assert 0.48 < np.hypot(*parts) < 0.51  # the amplitude was 0.5


def test_the_ratio_1_changes_nothing() -> None:
    waveform = white(2, 4000)
    torch.testing.assert_close(shifted(waveform, Fraction(1)), waveform, atol=1e-5, rtol=0)


def spectrogram(waveform: Tensor) -> Tensor:
    return torch.stft(waveform, 512, 128, window=torch.hann_window(512), return_complex=True).abs()


def test_a_shifted_chord_has_nearly_the_spectrogram_of_torchaudio() -> None:
    """torchaudio has a vocoder with another hop, and an interpolation of magnitudes."""
    chord = torch.zeros(1, 8000)
    chord[:, 1500:6000] = sines(1, 4500, share=0.03) + 0.5 * sines(1, 4500, share=0.08)
    for ratio in (Fraction(21, 25), Fraction(5, 4)):
        expected = spectrogram(audio.pitch_shift(chord, 1000, 12 * math.log2(ratio), n_fft=512))
        error = spectrogram(shifted(chord, ratio)) - expected
        assert ratio_db(expected.flatten(1), error.flatten(1)) > 20


@pytest.mark.parametrize("start", [0, 1500, 5000])
@pytest.mark.parametrize("ratio", AUTHORS_RATIOS)
def test_a_shifted_burst_keeps_its_position_and_its_energy(start: int, ratio: str) -> None:
    waveform = torch.zeros(1, 6000)
    waveform[:, start : start + 1000] = sines(1, 1000)
    energy = shifted(waveform, Fraction(ratio)).square()
    assert 0.8 < energy.sum() / waveform.square().sum() < 1.05
    middle = (energy * torch.arange(6000)).sum() / energy.sum()
    assert abs(float(middle) - start - 500) < 512 / 4


def test_frequencies_above_half_the_sample_rate_are_removed_without_aliasing() -> None:
    output = shifted(sines(1, 6000, share=0.45), Fraction(6, 5))
    assert output.square().mean() < 1e-3 * 0.125


def test_shifts_are_by_the_ratios_of_the_authors_library() -> None:
    """All are equally likely, and none is 1."""
    tones = sines(700, 5000, share=0.1)
    found = peaks(augmented(chain("pitch", sample_rate_hz=22_050), tones)) / 0.1
    ratios = np.array([float(Fraction(ratio)) for ratio in AUTHORS_RATIOS])
    nearest = np.abs(found[:, None] - ratios).argmin(axis=1)
    np.testing.assert_allclose(found, ratios[nearest], rtol=2e-3)
    counts = np.bincount(nearest, minlength=14)
    assert (np.abs(counts - 50) < 4.5 * math.sqrt(700 / 14 * 13 / 14)).all()


@pytest.mark.parametrize("samples", [1, 7, 127, 128, 129, 511, 512, 513, 2000])
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_shift_keeps_any_length(samples: int, ratio: Fraction) -> None:
    output = shifted(white(3, samples), ratio)
    assert output.shape == (3, samples)
    assert output.isfinite().all()


def test_equal_examples_have_equal_bits_in_any_batch() -> None:
    output = shifted(sines(3, 3000), Fraction(7, 6))
    assert torch.equal(output[0], output[2])
    assert torch.equal(shifted(torch.cat([white(2, 3000), sines(1, 3000)]), Fraction(7, 6))[2], output[0])

"""Tests the pitch shift alone and as a step of the augmentation."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
import torchaudio.functional as audio
from torch import Tensor

from mulan.model.audio.pitch_shift import pitch_shift
from tests.model.waveforms import augmented, chain, ratio_db, sines, white


def shifted(waveform: Tensor, *semitones: float, max_semitones: float | None = None) -> Tensor:
    ratios = 2 ** (torch.tensor(semitones, dtype=torch.float64) / 12)
    max_ratio = float(ratios.max()) if max_semitones is None else 2 ** (max_semitones / 12)
    return pitch_shift(waveform, ratios, max_ratio=max_ratio, window_samples=512)


def peaks(waveform: Tensor) -> np.ndarray:
    """Returns the peak frequencies as shares of the sample rate, interpolated between bins by a parabola."""
    samples = waveform.shape[1]
    spectra = np.log(np.abs(np.fft.rfft(waveform.double().numpy() * np.hanning(samples))) + 1e-12)
    at = spectra.argmax(axis=1)
    left, middle, right = (spectra[np.arange(len(at)), np.clip(at + k, 0, samples // 2)] for k in (-1, 0, 1))
    return (at + (left - right) / (2 * (left - 2 * middle + right))) / samples


def test_pitch_multiplies_the_frequency_of_a_sine() -> None:
    semitones = [-12, -4, -2.5, -0.3, 0, 0.1, 1, 4, 7]
    for share in (0.01, 0.06, 0.2):
        found = peaks(shifted(sines(len(semitones), 6000, share=share), *semitones))
        np.testing.assert_allclose(found, [share * 2 ** (n / 12) for n in semitones], rtol=1e-3)


@pytest.mark.parametrize("share", [0.02, 0.11, 0.23])
def test_a_shifted_sine_is_a_sine(share: float) -> None:
    """The output contains little but the expected frequency, at about the same level."""
    time = np.arange(6000)
    for semitones, output in zip([-4, 1.7, 4], shifted(sines(3, 6000, share=share), -4, 1.7, 4), strict=True):
        phase = 2 * math.pi * share * 2 ** (semitones / 12) * time
        inner = slice(1000, -1000)
        basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)[inner]
        parts, residual, _, _ = np.linalg.lstsq(basis, output.double().numpy()[inner], rcond=None)
        assert residual[0] < 10**-3.5 * output[inner].square().sum()
        assert 0.4 < np.hypot(*parts) < 0.55  # the amplitude was 0.5


@pytest.mark.parametrize("max_semitones", [0.0, 4.0])
def test_no_shift_is_nearly_the_same(max_semitones: float) -> None:
    low_pass = scipy.signal.butter(8, 0.6)
    waveform = torch.from_numpy(scipy.signal.lfilter(*low_pass, white(2, 4000).numpy())).float()
    torch.testing.assert_close(shifted(waveform, 0, 0, max_semitones=max_semitones), waveform, atol=5e-4, rtol=0)


def test_a_shift_does_not_depend_on_the_maximum() -> None:
    """This includes the end, for which enough frames are computed."""
    for samples in (3000, 3071, 3072, 3073):
        waveform = white(3, samples)
        expected = shifted(waveform, -4, 0, 4, max_semitones=12.0)
        torch.testing.assert_close(shifted(waveform, -4, 0, 4, max_semitones=4.0), expected, atol=1e-6, rtol=0)


def test_a_shifted_chord_is_nearly_that_of_torchaudio() -> None:
    """torchaudio has the same vocoder, but another interpolation and other edges."""
    chord = torch.zeros(1, 8000)
    chord[:, 1500:6000] = sines(1, 4500, share=0.03) + 0.5 * sines(1, 4500, share=0.08)
    for semitones in (-3, 4):
        # the rate only rounds the ratio; with the true one, computing its filters would take seconds
        expected = audio.pitch_shift(chord, 1000, semitones, n_fft=512)
        rounded = 12 * math.log2(int(1000 * 2 ** (semitones / 12)) / 1000)
        ours = shifted(chord, rounded)
        assert ratio_db(expected, ours - expected) > 25


@pytest.mark.parametrize("start", [0, 1500, 5000])
def test_a_shifted_burst_keeps_its_position(start: int) -> None:
    waveform = torch.zeros(3, 6000)
    waveform[:, start : start + 1000] = sines(3, 1000)
    energy = shifted(waveform, -4, 0.5, 4).square()
    middle = (energy * torch.arange(6000)).sum(dim=1) / energy.sum(dim=1)
    torch.testing.assert_close(middle, torch.full((3,), start + 500.0), atol=512 / 4, rtol=0)


def test_frequencies_above_half_the_sample_rate_are_removed_without_aliasing() -> None:
    output = shifted(sines(1, 6000, share=0.45), 4)
    assert output.square().mean() < 1e-3 * 0.125


def test_shifts_are_uniform_up_and_down() -> None:
    found = 12 * np.log2(peaks(augmented(chain("pitch", pitch_semitones=3.0), sines(200, 2000, share=0.1))) / 0.1)
    assert -3.05 < found.min() < -2.8
    assert 2.8 < found.max() < 3.05
    assert abs(found.mean()) < 5 * 6 / math.sqrt(12 * 200)


@pytest.mark.parametrize("samples", [1, 7, 127, 128, 129, 511, 512, 513, 2000])
def test_a_shift_keeps_any_length(samples: int) -> None:
    output = shifted(white(3, samples), -4, 0, 4, max_semitones=4.0)
    assert output.shape == (3, samples)
    assert output.isfinite().all()


def test_equal_examples_with_equal_ratios_have_equal_bits() -> None:
    output = shifted(sines(3, 3000), 1.3, -4, 1.3, max_semitones=4.0)
    assert torch.equal(output[0], output[2])
    assert torch.equal(shifted(sines(3, 3000), 1.3, 3.9, 1.3, max_semitones=4.0)[0], output[0])

"""Tests coloured noise and the four kinds of filters, alone and as steps of the augmentation."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from mulan.model.audio.augmentation import FILTERS, coloured_noise, filter_response
from tests.model.waveforms import augmented, chain, impulses, ratio_db, sines, white


def test_noise_has_the_given_signal_to_noise_ratio_for_each_example() -> None:
    waveform = white(6, 4000) * torch.logspace(-3, 0, 6)[:, None]
    noise = augmented(chain("noise", noise_min_snr_db=12.5, noise_max_snr_db=12.5), waveform) - waveform
    np.testing.assert_allclose(ratio_db(waveform, noise), 12.5, atol=2e-3)


def test_the_level_of_noise_is_between_its_bounds() -> None:
    waveform = white(300, 500)
    noise = augmented(chain("noise", noise_min_snr_db=3.0, noise_max_snr_db=30.0), waveform) - waveform
    levels_db = ratio_db(waveform, noise)
    assert 3 - 1e-3 < levels_db.min() < 4
    assert 29 < levels_db.max() < 30 + 1e-3


def slopes(noise: Tensor) -> np.ndarray:
    """Estimates the exponents of frequency in the power spectra by regression of logarithms."""
    frequencies, power = scipy.signal.welch(noise.double().numpy(), nperseg=1024)
    used = slice(8, 450)
    return np.polyfit(np.log(frequencies[used]), np.log(power.T[used]), 1)[0]


@pytest.mark.parametrize("decay", [0.0, 2.0, -2.0, 0.7])
def test_the_power_of_noise_falls_by_frequency_to_the_minus_decay(decay: float) -> None:
    settings: dict[str, Any] = {
        "noise_min_decay": decay,
        "noise_max_decay": decay,
        "noise_min_snr_db": 0.0,
        "noise_max_snr_db": 0.0,
    }
    waveform = sines(3, 100_000)
    noise = augmented(chain("noise", **settings), waveform) - waveform
    np.testing.assert_allclose(slopes(noise), -decay, atol=0.06)


def test_examples_have_noise_of_different_colours() -> None:
    settings: dict[str, Any] = {
        "noise_min_decay": -1.0,
        "noise_max_decay": 1.5,
        "noise_min_snr_db": 0.0,
        "noise_max_snr_db": 0.0,
    }
    waveform = sines(40, 20_000)
    exponents = slopes(augmented(chain("noise", **settings), waveform) - waveform)
    assert -1.7 < exponents.min() < -1.0
    assert 0.7 < exponents.max() < 1.2


def test_each_example_has_noise_of_its_own() -> None:
    settings: dict[str, Any] = {"noise_min_decay": 0.0, "noise_max_decay": 0.0}
    noise = augmented(chain("noise", **settings), sines(4, 10_000)) - sines(4, 10_000)
    torch.testing.assert_close(torch.corrcoef(noise), torch.eye(4), atol=0.05, rtol=0)


def test_equal_seeds_give_equal_noise_and_others_independent_noise() -> None:
    noise = coloured_noise([3, 4, 3], torch.zeros(3), samples=10_001, sample_rate_hz=22_050)
    assert noise.shape == (3, 10_001)
    assert torch.equal(noise[0], noise[2])
    assert abs(torch.corrcoef(noise[:2])[0, 1]) < 0.05


def test_noise_has_no_power_at_inaudible_frequencies() -> None:
    noise = coloured_noise([3], torch.full((1,), 2.0), samples=2**16, sample_rate_hz=16_000)
    power = torch.fft.rfft(noise[0] * torch.hann_window(2**16)).abs().square()
    hz = torch.fft.rfftfreq(2**16, 1 / 16_000)
    assert power[hz < 15].sum() < 1e-3 * power.sum()
    assert power[(hz > 20) & (hz < 40)].sum() > 0.3 * power.sum()


def cookbook(kind: str, centre: float, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns numerator and denominator by the Audio EQ Cookbook; the centre is a share of the sample rate."""
    w = 2 * math.pi * centre
    alpha, cosine = math.sin(w) * bandwidth / 2, math.cos(w)
    numerator = {
        "low-pass": [(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2],
        "high-pass": [(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2],
        "band-pass": [alpha, 0, -alpha],
        "band-stop": [1, -2 * cosine, 1],
    }[kind]
    return np.array(numerator) / (1 + alpha), np.array([1 + alpha, -2 * cosine, 1 - alpha]) / (1 + alpha)


@pytest.mark.parametrize("kind", FILTERS)
def test_filters_have_the_response_of_the_cookbooks_biquads(kind: str) -> None:
    centres, bandwidths = [0.0009, 0.03, 0.25, 0.45], [math.sqrt(2), 0.5, 1.99, 1.0]
    terms = torch.tensor([FILTERS[kind]] * 4)
    responses = filter_response(terms, torch.tensor(centres), torch.tensor(bandwidths), bins=513)
    assert responses.dtype == torch.complex64
    for response, centre, bandwidth in zip(responses, centres, bandwidths, strict=True):
        b, a = cookbook(kind, centre, bandwidth)
        expected = scipy.signal.freqz(b, a, worN=513, include_nyquist=True)[1]
        np.testing.assert_allclose(response, expected, atol=1e-5)


def recovered(impulse_response: np.ndarray) -> tuple[str, float, float]:
    """Returns kind, centre and bandwidth of the biquad with this impulse response."""
    h = impulse_response.astype(np.float64)
    a1, a2 = np.linalg.lstsq(np.stack([-h[2:-1], -h[1:-2]], axis=1), h[3:], rcond=None)[0]
    alpha = (1 - a2) / (1 + a2)
    w = math.acos(-a1 * (1 + alpha) / 2)
    b = [h[0], h[1] + a1 * h[0], h[2] + a1 * h[1] + a2 * h[0]]
    parameters = w / (2 * math.pi), 2 * alpha / math.sin(w)
    distances = {kind: np.abs(b - cookbook(kind, *parameters)[0]).max() for kind in FILTERS}
    kind = min(FILTERS, key=lambda kind: distances[kind])
    assert distances[kind] < 1e-3
    return kind, *parameters


def test_a_filter_is_one_of_four_with_cutoffs_and_bandwidths_in_their_ranges() -> None:
    rate_hz = 22_050
    filters = [recovered(h) for h in augmented(chain("filter", sample_rate_hz=rate_hz), impulses(1600, 1000)).numpy()]
    count = Counter(kind for kind, _, _ in filters)
    assert all(abs(count[kind] - 400) < 5 * math.sqrt(300) for kind in FILTERS)
    ranges_hz = {"low-pass": (150, 7500), "high-pass": (20, 2400), "band-pass": (200, 4000), "band-stop": (200, 4000)}
    for kind, (low, high) in ranges_hz.items():
        centres = [centre * rate_hz for own, centre, _ in filters if own == kind]
        widths = [bandwidth for own, _, bandwidth in filters if own == kind]
        assert 0.98 * low < min(centres) < low + 25
        assert 0.95 * high < max(centres) < 1.01 * high
        middle_mel = (math.log(1 + low / 700) + math.log(1 + high / 700)) / 2
        assert abs(np.median(centres) / (700 * (math.exp(middle_mel) - 1)) - 1) < 0.25
        if "band" in kind:
            assert 0.49 < min(widths) < 0.6
            assert 1.9 < max(widths) < 2.0
        else:
            np.testing.assert_allclose(widths, math.sqrt(2), rtol=0.02)


def test_filters_stay_below_half_of_a_low_sample_rate() -> None:
    for h in augmented(chain("filter", sample_rate_hz=2000), impulses(100, 600)).numpy():
        assert recovered(h)[1] < 0.46


def test_filtering_is_that_of_lfilter_without_a_wrap_around() -> None:
    """The same seed draws the same filters, which are recovered from their impulse responses."""
    augmentation, waveform = chain("filter"), white(40, 3000)
    waveform[:, -500:] += 0.5  # would show at the beginning if it wrapped around
    responses = augmented(augmentation, impulses(40, 3000)).numpy()
    for filtered, original, h in zip(augmented(augmentation, waveform), waveform.numpy(), responses, strict=True):
        expected = scipy.signal.lfilter(*cookbook(*recovered(h)), original.astype(np.float64))
        np.testing.assert_allclose(filtered, expected, atol=5e-3)  # limited by the recovered coefficients
        np.testing.assert_allclose(filtered, np.convolve(original, h.astype(np.float64))[:3000], atol=1e-5)

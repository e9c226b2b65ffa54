"""Tests coloured noise and the four kinds of filters, alone and as steps of the augmentation.

Numbers called measured are those of torch-audiomentations 0.12.0 with julius 0.2.8, the libraries that SemiSupCon's
authors use, executed once at 22,050 Hz.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mulan.model.audio.spectral_shapes import FILTERS, coloured_noise, fast_fft_length, half_filter_length, steep_filter
from tests.model.waveforms import augmented, chain, impulses, ratio_db, sines, white

AUTHORS_RATE_HZ = 22_050


def noise_power_db(decay: float, *, examples: int = 200) -> np.ndarray:
    """Returns the mean power of one second of noise at 0, 1, 2, ... Hz in dB."""
    decays = torch.full((examples,), decay)
    noise = coloured_noise(range(examples), decays, samples=AUTHORS_RATE_HZ, sample_rate_hz=AUTHORS_RATE_HZ)
    return 10 * np.log10(np.square(np.abs(np.fft.rfft(noise.double().numpy()))).mean(axis=0))


def near(power_db: np.ndarray, hz: float) -> float:
    return float(power_db[round(0.95 * hz) : round(1.05 * hz)].mean())


@pytest.mark.parametrize(("decay", "slope_db"), [(2.0, -11.26), (1.0, -5.64), (0.0, 0.0), (-2.0, 11.31)])
def test_noise_falls_by_the_measured_decibels_per_octave(decay: float, slope_db: float) -> None:
    power_db = noise_power_db(decay)
    assert abs((near(power_db, 8000) - near(power_db, 500)) / 4 - slope_db) < 0.1


def test_noise_has_the_measured_spectrum() -> None:
    power_db = noise_power_db(2.0)
    measured = {125: 17.11, 250: 9.25, 500: 0.0, 1000: -10.38, 2000: -21.61, 4000: -33.21, 8000: -45.02}
    found = [near(power_db, hz) - near(power_db, 500) for hz in measured]
    np.testing.assert_allclose(found, list(measured.values()), atol=0.5)


def test_noise_is_one_second_repeated() -> None:
    noise = coloured_noise([3, 5], torch.tensor([1.0, -1.5]), samples=2500, sample_rate_hz=1000)
    assert noise.shape == (2, 2500)
    assert torch.equal(noise[:, 1000:], noise[:, :1500])
    torch.testing.assert_close(noise[:, :1000].square().mean(dim=1), torch.ones(2))


def test_equal_seeds_give_equal_noise_and_others_independent_noise() -> None:
    noise = coloured_noise([3, 4, 3], torch.zeros(3), samples=10_001, sample_rate_hz=22_050)
    assert noise.shape == (3, 10_001)
    assert torch.equal(noise[0], noise[2])
    assert abs(torch.corrcoef(noise[:2])[0, 1]) < 0.05


def test_noise_has_the_given_signal_to_noise_ratio_for_each_example() -> None:
    waveform = white(6, 8000) * torch.logspace(-3, 0, 6)[:, None]
    noise = augmented(chain("noise", noise_min_snr_db=12.5, noise_max_snr_db=12.5), waveform) - waveform
    np.testing.assert_allclose(ratio_db(waveform, noise), 12.5, atol=2e-3)


def test_the_level_of_noise_is_between_its_bounds() -> None:
    waveform = white(300, 8000)
    noise = augmented(chain("noise", noise_min_snr_db=3.0, noise_max_snr_db=30.0), waveform) - waveform
    levels_db = ratio_db(waveform, noise)
    assert 3 - 1e-3 < levels_db.min() < 4
    assert 29 < levels_db.max() < 30 + 1e-3


def test_examples_have_noise_of_different_colours() -> None:
    bounds: dict[str, Any] = {"noise_min_decay": -1.0, "noise_max_decay": 1.5}
    noise = augmented(chain("noise", **bounds, noise_max_snr_db=3.0), sines(60, 8000)) - sines(60, 8000)
    power = np.square(np.abs(np.fft.rfft(noise.double().numpy())))
    # from 500 to 4000 Hz, amplitudes are divided by 1 + f (sqrt(4000) - 1) / 4000 to the decay
    divisors = (1 + np.array([500, 3800]) * (math.sqrt(4000) - 1) / 4000) ** 2
    falls = np.log(power[:, 450:550].mean(axis=1) / power[:, 3750:3850].mean(axis=1))
    decays = falls / np.log(divisors[1] / divisors[0])
    assert -1.2 < decays.min() < -0.8
    assert 1.3 < decays.max() < 1.7


def test_each_example_has_noise_of_its_own() -> None:
    settings: dict[str, Any] = {"noise_min_decay": 0.0, "noise_max_decay": 0.0}
    noise = augmented(chain("noise", **settings), sines(4, 10_000)) - sines(4, 10_000)
    torch.testing.assert_close(torch.corrcoef(noise), torch.eye(4), atol=0.05, rtol=0)


def centred_impulses(examples: int, samples: int) -> Tensor:
    return impulses(examples, samples).roll(samples // 2, dims=1)


def response_db(kind: str, lower_hz: float, upper_hz: float, hz: list[float]) -> np.ndarray:
    """Returns the response of a filter at some frequencies in dB."""
    lower, upper = (torch.tensor([edge / AUTHORS_RATE_HZ], dtype=torch.float64) for edge in (lower_hz, upper_hz))
    half_length = half_filter_length(float(lower))
    weights = torch.tensor([FILTERS[kind]])
    filtered = steep_filter(centred_impulses(1, 2**17), weights, lower, upper, half_length=half_length)
    spectrum = 20 * np.log10(np.abs(np.fft.rfft(filtered[0].double().numpy())) + 1e-12)
    return np.interp(hz, np.fft.rfftfreq(2**17, 1 / AUTHORS_RATE_HZ), spectrum)


@pytest.mark.parametrize(
    ("kind", "edges_hz", "measured_db"),
    [
        ("low-pass", (1000, 1000), {500: 0.01, 900: -1.42, 1000: -6.02, 1100: -16.45, 1400: -56.35, 1500: -62.18}),
        ("low-pass", (150, 150), {100: -0.01, 150: -6.02, 225: -62.18}),
        ("high-pass", (1000, 1000), {500: -64.2, 600: -55.17, 800: -47.35, 900: -16.44, 1000: -6.02, 1250: 0.05}),
        ("high-pass", (200, 200), {100: -64.19, 133: -61.74, 150: -44.19, 200: -6.02, 300: 0.01}),
        ("band-pass", (750, 1250), {500: -62.84, 700: -12.03, 750: -6.02, 1000: -0.01, 1200: -2.5, 1300: -12.03}),
        ("band-pass", (500, 1500), {250: -64.22, 500: -6.02, 1000: 0.0, 1300: -0.01, 1500: -6.02}),
        ("band-pass", (5, 1995), {20: 0.0, 1000: 0.0, 1950: 0.0}),
        ("band-stop", (750, 1250), {500: -0.01, 750: -6.02, 800: -12.03, 1000: -62.77, 1250: -6.02, 1500: 0.0}),
        ("band-stop", (500, 1500), {250: 0.01, 500: -6.02, 700: -56.2, 1250: -61.89, 1500: -6.02, 2000: 0.0}),
        ("band-stop", (5, 1995), {2000: 0.0, 2100: 0.0}),
    ],
)
def test_filters_have_the_measured_responses(
    kind: str, edges_hz: tuple[float, float], measured_db: dict[float, float]
) -> None:
    found = response_db(kind, *edges_hz, list(measured_db))
    np.testing.assert_allclose(found, list(measured_db.values()), atol=0.1)


def test_a_wide_band_stop_removes_everything_below_twice_its_centre() -> None:
    """The response that was measured for bandwidth 1.99 at 1 kHz is at most -113 dB from 100 to 500 Hz."""
    hz = np.arange(100, 500.0)
    assert response_db("band-stop", 1000 * (1 - 1.99 / 2), 1000 * (1 + 1.99 / 2), list(hz)).max() < -110
    assert response_db("band-pass", 1000 * (1 - 1.99 / 2), 1000 * (1 + 1.99 / 2), [2050.0]) < -110


@pytest.mark.parametrize("kind", FILTERS)
def test_filters_equal_sums_over_windowed_sincs(kind: str) -> None:
    """The reference is a float64 convolution with the edge samples continued, by the published formula."""
    cutoffs = [0.02, 0.11], [0.3, 0.11]
    waveform = white(2, 700) + 0.3  # a constant shows a wrong continuation
    lower, upper = (torch.tensor(edges, dtype=torch.float64) for edges in cutoffs)
    half_length = half_filter_length(min(cutoffs[0]))
    filtered = steep_filter(waveform, torch.tensor([FILTERS[kind]] * 2), lower, upper, half_length=half_length)
    for row, (low, high) in enumerate(zip(*cutoffs, strict=True)):
        half = int(8 / low / 2)
        time = np.arange(-half, half + 1)
        low_passed = {}
        for edge in (low, high):
            taps = 2 * edge * np.sinc(2 * edge * time) * np.hanning(2 * half + 1)
            padded = np.pad(waveform[row].double().numpy(), half, mode="edge")
            low_passed[edge] = np.convolve(padded, taps / taps.sum(), mode="valid")
        signal = waveform[row].double().numpy()
        expected = {
            "low-pass": low_passed[high],
            "high-pass": signal - low_passed[high],
            "band-pass": low_passed[high] - low_passed[low],
            "band-stop": signal - (low_passed[high] - low_passed[low]),
        }[kind]
        np.testing.assert_allclose(filtered[row], expected, atol=2e-6)


def drawn_filter(impulse_response: np.ndarray) -> tuple[str, float, float]:
    """Returns the kind of a filter, and the lowest and the highest frequency at which it attenuates by 6 dB, in Hz."""
    response = np.abs(np.fft.rfft(impulse_response.astype(np.float64))) - 0.5
    hz = np.fft.rfftfreq(len(impulse_response), 1 / AUTHORS_RATE_HZ)
    below = np.flatnonzero((response[:-1] > 0) != (response[1:] > 0))[[0, -1]]
    share = response[below] / (response[below] - response[below + 1])
    lowest, highest = hz[below] + share * (hz[below + 1] - hz[below])
    passes_bottom, passes_top = response[0] > 0, response[-1] > 0
    if passes_bottom:
        return "band-stop" if passes_top else "low-pass", lowest, highest
    return "high-pass" if passes_top else "band-pass", lowest, highest


def drawn_filters() -> list[list[tuple[str, float, float]]]:
    """Returns the filters of two views of 480 recordings."""
    impulse = centred_impulses(1, 40_000).expand(40, 2, -1)
    augmentation = chain("filter", sample_rate_hz=AUTHORS_RATE_HZ)
    batches = (augmented(augmentation, impulse, seed=seed).numpy() for seed in range(12))
    return [[drawn_filter(view) for view in recording] for batch in batches for recording in batch]


def test_filters_are_of_one_kind_in_all_views_with_edges_in_the_authors_ranges() -> None:
    recordings = drawn_filters()
    assert all(first[0] == second[0] and first[1:] != second[1:] for first, second in recordings)
    kinds = [first[0] for first, _ in recordings]
    assert all(abs(kinds.count(kind) - 120) < 4.5 * math.sqrt(480 * 3 / 16) for kind in FILTERS)
    ranges_hz = {"low-pass": (150, 7500), "high-pass": (200, 2400), "band-pass": (200, 4000), "band-stop": (200, 4000)}
    for kind, (low, high) in ranges_hz.items():
        edges = np.array([view[1:] for recording in recordings for view in recording if view[0] == kind])
        centres = edges.mean(axis=1)
        assert 0.99 * low < centres.min() < low + 60
        assert 0.93 * high < centres.max() < 1.01 * high
        middle_mel = (math.log(1 + low / 700) + math.log(1 + high / 700)) / 2
        assert abs(np.median(centres) / (700 * (math.exp(middle_mel) - 1)) - 1) < 0.25
        bandwidths = (edges[:, 1] - edges[:, 0]) / centres
        if "band" in kind:
            assert 0.49 < bandwidths.min() < 0.55
            assert 1.93 < bandwidths.max() < 2.0
        else:
            assert bandwidths.max() == 0


def test_filters_end_at_half_of_a_low_sample_rate() -> None:
    waveform = white(200, 600)
    filtered = augmented(chain("filter", sample_rate_hz=1000), waveform)
    assert filtered.isfinite().all()
    assert (ratio_db(filtered, waveform) < 0.1).all()


@pytest.mark.parametrize(("samples", "length"), [(1, 4), (4, 4), (5, 5), (7, 8), (9, 10), (1025, 1280)])
def test_lengths_of_transforms_are_small_multiples_of_powers_of_two(samples: int, length: int) -> None:
    assert fast_fft_length(samples) == length

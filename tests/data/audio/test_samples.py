"""Tests mixing down, resampling and rounding of samples against another library and loops."""

import numpy as np
import pytest
import scipy.signal
import soxr

from mulan.data.audio.samples import (
    mix_down,
    resample_blocks,
    resampled_length,
    round_to_int16,
    to_float32,
    validated_block,
)
from mulan.data.audio.windows import (
    decode_recording,
    duration_s,
    to_mono_int16,
)
from mulan.data.errors import DecodeError
from tests.data.audio.decoded import RATE_HZ, window_of
from tests.encodings import by_libsndfile
from tests.sounds import tone


def test_stereo_is_averaged_and_resampled() -> None:
    left, right = tone(440, 2.0, rate_hz=44_100), tone(880, 2.0, rate_hz=44_100, seed=1)
    audio = by_libsndfile(np.stack([left, right], axis=1), 44_100, "FLAC", "PCM_16")
    ours = decode_recording(audio, sample_rate_hz=RATE_HZ) / 32768
    reference = scipy.signal.resample_poly((left.astype(np.float64) + right) / 2, 160, 441)
    assert len(ours) == len(reference) == 32_000
    inner = slice(500, -500)  # the filters differ at the ends
    assert np.sqrt(np.mean((ours - reference)[inner] ** 2)) < 0.005 * np.sqrt(np.mean(reference**2)) + 0.003


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_keeps_its_pitch_at_every_rate(rate_hz: int) -> None:
    window = window_of(by_libsndfile(tone(440, 2.0, rate_hz=rate_hz), rate_hz, "WAV", "PCM_16"), 16_000, draw=0.6)
    spectrum = np.abs(np.fft.rfft(window.astype(float)))
    assert np.argmax(spectrum) == 440  # one second, so that a bin is 1 Hz
    assert spectrum[440] == pytest.approx(0.3 * 32_768 * 8000, rel=0.01)


@pytest.mark.parametrize("rate_hz", [1, 999, 1_000_001, 100_000_000, 2**31 - 1])
def test_impossible_sample_rates_are_rejected(rate_hz: int) -> None:
    audio = by_libsndfile(tone(440, 1.0), rate_hz, "WAV", "PCM_16")
    for read in (
        lambda: window_of(audio, 16_000, draw=0.5),
        lambda: decode_recording(audio, sample_rate_hz=RATE_HZ),
        lambda: duration_s(audio),
    ):
        with pytest.raises(DecodeError, match=f"impossible sample rate: {rate_hz} Hz"):
            read()


def test_loud_samples_are_clipped_and_not_wrapped() -> None:
    assert to_mono_int16(np.array([[2.0], [-2.0], [0.5]]), 1, 1).tolist() == [32767, -32768, 16384]


@pytest.mark.parametrize(("dtype", "scale"), [(np.int16, 32_768), (np.float32, 1), (np.int32, 1)])
def test_channels_are_averaged(dtype: type, scale: int) -> None:
    samples = np.random.default_rng(0).integers(-30_000, 30_000, (100, 5)).astype(dtype)
    np.testing.assert_allclose(mix_down(samples) * scale, samples.astype(float).mean(axis=1), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_mono_is_returned_unchanged(dtype: type) -> None:
    samples = np.arange(7, dtype=dtype)[:, None]
    assert np.shares_memory(mix_down(samples), samples)


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 16_000])
def test_resampling_does_not_depend_on_the_length_of_blocks(rate_hz: int) -> None:
    whole = tone(440, 1.0, rate_hz=rate_hz)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(whole), 9))
    blocks = [(block, rate_hz) for block in np.split(whole, cuts)]
    ours = np.concatenate([*resample_blocks(blocks, RATE_HZ)])
    reference = soxr.resample(whole, rate_hz, RATE_HZ)
    assert len(ours) == len(reference) == resampled_length(len(whole), rate_hz, RATE_HZ)
    assert np.abs(ours - 32_768.0 * reference).max() <= 1


def test_a_change_of_rate_restarts_the_resampler() -> None:
    low, own, high = tone(440, 0.5, rate_hz=8000), tone(440, 0.25), tone(440, 0.5, rate_hz=48_000)
    parts = [(low[:1000], 8000), (low[1000:], 8000), (own, RATE_HZ), (high, 48_000)]
    ours = np.concatenate([*resample_blocks(parts, RATE_HZ)])
    expected = np.concatenate([soxr.resample(low, 8000, RATE_HZ), own, soxr.resample(high, 48_000, RATE_HZ)])
    assert len(ours) == len(expected)
    assert np.abs(ours - 32_768.0 * expected).max() <= 1


@pytest.mark.parametrize("frames", [1, 2, 999, 44_100, 44_101, 1_234_567])
@pytest.mark.parametrize("rate_hz", [8000, 22_050, 44_100, 44_101, 96_000])
def test_the_resampled_length_equals_that_of_soxr(frames: int, rate_hz: int) -> None:
    resampled = soxr.resample(np.zeros(frames, np.float32), rate_hz, RATE_HZ)
    assert resampled_length(frames, rate_hz, RATE_HZ) == len(resampled)


def test_samples_are_rounded_to_the_nearest_step() -> None:
    steps = np.array([-1.0, -0.5, -1.5 / 32_768, 0.4 / 32_768, 0.6 / 32_768, 0.5, 1.0, 7.0], np.float32)
    assert round_to_int16(steps).tolist() == [-32_768, -16_384, -2, 0, 1, 16_384, 32_767, 32_767]
    every = np.arange(-32_768, 32_768, dtype=np.int16)
    assert np.array_equal(round_to_int16(to_float32(every)), every)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_non_finite_samples_are_rejected(wrong: float) -> None:
    with pytest.raises(DecodeError, match="samples not finite"):
        validated_block(np.array([0.0, wrong], np.float32), RATE_HZ)
    mono = np.array([1, 2], np.int16)
    assert validated_block(mono, RATE_HZ) == (mono, RATE_HZ)

"""Tests front ends and SpecAugment with the values of the public networks against what those networks were trained on.

Where the public code calls torchaudio or transformers, these are the reference; otherwise it is numpy in float64.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi
import torchaudio.transforms
from transformers import ASTFeatureExtractor

from mulan.config.audio import DecibelFrontEndConfig, KaldiFrontEndConfig, VggishFrontEndConfig
from mulan.model.audio.front_end import DecibelMel, KaldiLogMel, LogMel, SpecAugment

RATE_HZ = 16_000
Sound = Callable[[int], np.ndarray]


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, samples)


def tone(samples: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(samples)) + noise(samples) / 10


def sweep(samples: int) -> np.ndarray:
    """Returns the sine whose frequency rises linearly from 50 Hz to 8 kHz, float64 [samples]."""
    return 0.5 * np.sin(2 * np.pi / RATE_HZ * np.cumsum(np.linspace(50, 8000, samples)))


@pytest.mark.parametrize("sound", [noise, tone, sweep])
def test_log_mel_is_nearly_that_of_vggish_s_filters(sound: Sound) -> None:
    """Compares with filters that are triangles over the mel scale, as VGGish's are; ours are triangles over frequency.

    The natural logarithms differ by at most 0.014, and by about 0.001 on average.
    """
    waveform = sound(2 * RATE_HZ)
    low, high = (1127 * math.log(1 + hz / 700) for hz in (125, 7500))
    width = (high - low) / 65
    places = 1127 * np.log(1 + np.arange(257) * RATE_HZ / 512 / 700)
    filters = [np.maximum(0, 1 - np.abs(places - (low + width * (channel + 1))) / width) for channel in range(64)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([waveform[start : start + 400] * hann for start in range(0, len(waveform) - 399, 160)])
    expected = np.log(np.abs(np.fft.rfft(frames, n=512)) @ np.array(filters).T + 0.01).T
    section = VggishFrontEndConfig(mean=0.0, std=1.0)
    difference = np.abs(LogMel(section, sample_rate_hz=RATE_HZ)(torch.from_numpy(waveform)).numpy() - expected)
    assert difference.shape == (64, 198)
    assert 0.005 < difference.max() < 0.014
    assert 0.0005 < difference.mean() < 0.002


@pytest.mark.parametrize("sound", [noise, tone])
def test_kaldi_log_mel_has_the_bits_of_the_extractor_and_nearly_the_values_of_ast_s_code(sound: Sound) -> None:
    """Compares with ``transformers``, and with torchaudio's banks of a waveform without its mean, as in AST's code."""
    waveform, section = torch.from_numpy(sound(2 * RATE_HZ)).float(), KaldiFrontEndConfig()
    computed = KaldiLogMel(section, sample_rate_hz=RATE_HZ)(waveform).T
    extracted = ASTFeatureExtractor(max_length=198)(waveform.numpy(), sampling_rate=RATE_HZ)["input_values"][0]
    assert np.array_equal(computed.numpy(), extracted)
    banks = torchaudio.compliance.kaldi.fbank(
        (waveform - waveform.mean())[None], htk_compat=True, window_type="hanning", num_mel_bins=128, dither=0.0
    )
    torch.testing.assert_close(computed, (banks - section.mean) / section.std, atol=5e-5, rtol=0)


def test_three_seconds_in_decibels_are_the_inner_186_of_188_centred_frames() -> None:
    """Compares with torchaudio's defaults, as in the code of MuLaP's authors, in float64.

    They center the frames: the waveform is padded with half a window at each end, which is one hop, so that the frames
    in between are the same.
    """
    waveform = torch.from_numpy(noise(3 * RATE_HZ) * np.hanning(3 * RATE_HZ))  # loudest in the middle
    mel = torchaudio.transforms.MelSpectrogram(RATE_HZ, n_fft=512, f_min=0.0, f_max=8000.0, n_mels=96).double()
    expected = torchaudio.transforms.AmplitudeToDB(top_db=80)(mel(waveform)[None])[0]
    computed = DecibelMel(DecibelFrontEndConfig(), sample_rate_hz=RATE_HZ)(waveform).double()
    assert (computed.shape, expected.shape) == ((96, 186), (96, 188))
    torch.testing.assert_close(computed, expected[:, 1:-1], atol=2e-3, rtol=0)


def test_masks_are_as_wide_as_those_of_ast_s_code() -> None:
    """Compares with the uniform law, and with torchaudio's masks of one example at a time, as in AST's code.

    For its bounds of 48 bins and 192 frames, widths are whole numbers below the bound, with means of 23.5 and 95.5.
    """
    torch.manual_seed(0)
    count = 1000
    masked = SpecAugment(KaldiFrontEndConfig()).train()(torch.ones(count, 49, 193)) == 0
    found = {48: masked.all(dim=2).sum(dim=1), 192: masked.all(dim=1).sum(dim=1)}
    for bound, transform in (
        (48, torchaudio.transforms.FrequencyMasking(48)),
        (192, torchaudio.transforms.TimeMasking(192)),
    ):
        one = torch.ones(1, 49, 1) if bound == 48 else torch.ones(1, 1, 193)
        theirs = torch.stack([(transform(one) == 0).sum() for _ in range(count)]).double()
        ours = found[bound].double()
        error = bound / math.sqrt(12 * count)  # standard error of the mean of uniform widths
        assert bound - 5 < ours.max() < bound
        assert abs(ours.mean() - (bound - 1) / 2) < 4 * error
        assert abs(ours.mean() - theirs.mean()) < 4 * math.sqrt(2) * error
        assert abs(ours.std() - theirs.std()) < 4 * error

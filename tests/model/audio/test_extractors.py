"""Tests the front ends of checkpoints against the feature extractors of transformers."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, ClapFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from mulan.model.audio.extractors import Extractor, WhisperLogMel, extractor_front_end
from tests.sounds import tone

ROUNDING = 3e-3
"""Maximum difference in decibels of CLAP, whose extractor computes in float64 and ours in float32."""


def signals(rate_hz: int, seconds: float) -> np.ndarray:
    """Returns a decaying chord with noise, a tone that begins after silence, and faint noise, int16 [3, samples]."""
    count = round(rate_hz * seconds)
    chord = sum(
        tone(frequency, seconds, rate_hz=rate_hz, seed=n)[:count] for n, frequency in enumerate((220, 277, 330))
    )
    late = tone(3000, seconds, rate_hz=rate_hz)[:count] * (np.arange(count) > count / 3)
    faint = np.random.default_rng(1).normal(0, 1e-3, count)
    sounds = np.stack([chord * np.linspace(1, 0.05, count), late, faint])
    return np.round(sounds * 32767).astype(np.int16)


def differences(extractor: Any, sound: np.ndarray) -> float:
    """Returns the maximum difference of the front end's output from that of the extractor."""
    rows = [row.astype(np.float32) / 32768 for row in sound]
    expected = extractor(rows, sampling_rate=extractor.sampling_rate, return_tensors="np")
    values = np.asarray(expected[extractor.model_input_names[0]], np.float64)
    ours = extractor_front_end(extractor)(torch.from_numpy(sound)).double().numpy()
    if isinstance(extractor, ClapFeatureExtractor):
        values = values[:, :1]  # with fusion, a short sound is given four times
    assert ours.shape == values.shape
    assert values.std() > 0.05
    return float(np.abs(ours - values).max())


@pytest.mark.parametrize("seconds", [0.2, 1.7])
@pytest.mark.parametrize("normalizes", [True, False])
@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
def test_waveform(seconds: float, normalizes: bool, rate_hz: int) -> None:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalizes, sampling_rate=rate_hz)
    assert differences(extractor, signals(rate_hz, seconds)) <= (2e-5 if normalizes else 0)


@pytest.mark.parametrize("seconds", [0.3, 10.0, 30.0])
@pytest.mark.parametrize("mel_channels", [80, 128])
def test_whisper(seconds: float, mel_channels: int) -> None:
    extractor = WhisperFeatureExtractor(feature_size=mel_channels)
    assert differences(extractor, signals(16_000, seconds)) <= 1e-5


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 16_000, 23_456])
def test_whisper_counts_the_frames_of_the_extractors_mask(samples: int) -> None:
    extractor = WhisperFeatureExtractor(chunk_length=2)
    mask = extractor(np.ones(samples), sampling_rate=16_000, return_attention_mask=True)["attention_mask"]
    front_end = extractor_front_end(extractor)
    assert isinstance(front_end, WhisperLogMel)
    assert front_end.frames_of(samples) == int(np.sum(mask))


@pytest.mark.parametrize("seconds", [0.7, 3.0, 5.0, 10.0])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_clap(seconds: float, padding: str) -> None:
    for truncation in ("rand_trunc", "fusion"):
        extractor = ClapFeatureExtractor(truncation=truncation, padding=padding)
        assert differences(extractor, signals(48_000, seconds)) <= ROUNDING


@pytest.mark.parametrize("seconds", [0.1, 4.0, 10.24])
@pytest.mark.parametrize("settings", [{}, {"do_normalize": False}, {"num_mel_bins": 64, "mean": -5.0, "std": 3.0}])
def test_ast(seconds: float, settings: dict[str, Any]) -> None:
    assert differences(ASTFeatureExtractor(**settings), signals(16_000, seconds)) <= 1e-5


@pytest.mark.parametrize("extractor", [WhisperFeatureExtractor(chunk_length=1), ASTFeatureExtractor(max_length=100)])
def test_autocast_and_floating_point_change_nothing(extractor: Extractor) -> None:
    front_end = extractor_front_end(extractor)
    sound = torch.from_numpy(signals(16_000, 0.5))
    expected = front_end(sound)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(sound), expected)
    assert torch.equal(front_end(sound.float() / 32768), expected)

import numpy as np
import pytest

from mulan.data.audio.flac import flac_declared_s, is_single_flac_stream
from mulan.data.audio.source import audio_source
from tests.encodings import by_ffmpeg, by_libsndfile, with_flac_frames
from tests.sounds import tone

RATE_HZ = 16_000


@pytest.mark.parametrize("seconds", [0.01, 0.3, 1.0, 3.3])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_100, 44_101, 96_000])
def test_the_length_of_a_single_stream_is_verified(seconds: float, subtype: str, rate_hz: int) -> None:
    samples = np.stack([tone(440, seconds, rate_hz=rate_hz)] * 2, axis=1)
    audio = by_libsndfile(samples, rate_hz, "FLAC", subtype)
    assert flac_declared_s(audio_source(audio)) == len(samples) / rate_hz
    assert is_single_flac_stream(audio_source(audio), len(samples))
    tagged = b"ID3\4\0\0\0\0\0\5" + bytes(5) + audio + b"TAG" + bytes(125)
    assert is_single_flac_stream(audio_source(tagged), len(samples))
    assert flac_declared_s(audio_source(tagged)) == len(samples) / rate_hz


def test_frames_of_other_encoders_are_parsed() -> None:
    samples = tone(440, 3.0, rate_hz=44_100)
    assert is_single_flac_stream(audio_source(by_ffmpeg(samples, 44_100, "flac", "flac")), len(samples))


def test_a_wrong_length_is_detected() -> None:
    audio = by_libsndfile(tone(440, 5.0), RATE_HZ, "FLAC")
    for frames in (0, 1, 40_000, 79_999, 80_001, 160_000):
        assert not is_single_flac_stream(audio_source(with_flac_frames(audio, frames)), frames)
    assert not is_single_flac_stream(audio_source(audio[:50_000]), 80_000)


@pytest.mark.parametrize("loud", [0.0, 0.3])
def test_concatenated_streams_of_equal_length_are_detected(loud: float) -> None:
    """The streams are the same one twice, or differ by up to a factor of three in bytes."""
    one = by_libsndfile(tone(440, 5.0), RATE_HZ, "FLAC")
    noise = loud * np.random.default_rng(0).uniform(-1, 1, 80_000) + tone(440, 5.0)
    other = by_libsndfile(noise.clip(-1, 1), RATE_HZ, "FLAC")
    assert len(one) <= len(other) < 3 * len(one)
    for audio in (one + other, other + one, one + other + one):
        assert not is_single_flac_stream(audio_source(audio), 80_000)


def test_other_files_are_not_flac_streams() -> None:
    for audio in (b"", b"fLaC", b"ID3", by_libsndfile(tone(440, 1.0), RATE_HZ, "WAV")):
        assert not is_single_flac_stream(audio_source(audio), 16_000)
        assert flac_declared_s(audio_source(audio)) == 0

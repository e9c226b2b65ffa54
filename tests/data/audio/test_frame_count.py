"""Tests that correct lengths are verified and wrong ones are not, by windows that must be slices of the recording."""

import numpy as np
import pytest

from mulan.data.audio.frame_count import ReliableLength, reliable_length
from mulan.data.audio.libsndfile import CannotOpen, open_with_libsndfile
from mulan.data.audio.source import audio_source
from mulan.data.audio.windows import decode_recording, decode_window
from tests.data.audio.decoded import RATE_HZ, check
from tests.encodings import by_libsndfile, vbr_mp3, with_flac_frames, with_xing_count, without_xing
from tests.sounds import noise, tone

UNEVEN = {
    "noise first": np.concatenate([noise(2, 44_100, loud=0.3), 0.1 * tone(330, 8, rate_hz=44_100)]),
    "loud late": np.concatenate([tone(220, 5, rate_hz=44_100), noise(5, 44_100, loud=0.2)]),
    "quiet first": np.concatenate([np.zeros(88_200, np.float32), noise(8, 44_100, loud=0.3)]),
}
"""Audio of ten seconds whose bit rate at the start differs from that of the rest."""


@pytest.mark.parametrize("samples", UNEVEN.values(), ids=UNEVEN)
def test_mp3_without_an_info_frame_has_the_length_of_its_frames(samples: np.ndarray) -> None:
    whole = check(without_xing(vbr_mp3(samples, 44_100)), 10.0)
    assert np.abs(whole[-RATE_HZ:]).max() > 1000


@pytest.mark.parametrize("times", [0, 0.1, 0.99, 1, 1.02, 10, 1e5])
def test_a_wrong_declared_count_is_not_used(times: float) -> None:
    check(with_xing_count(vbr_mp3(UNEVEN["loud late"], 44_100), times), 10.0)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
def test_a_window_of_small_mp3_frames_is_a_slice_of_the_recording(rate_hz: int) -> None:
    """The data of a frame begin in earlier frames: in many of them if they are small."""
    samples = np.concatenate([tone(440, 1.0, rate_hz=rate_hz), noise(1, rate_hz, loud=0.3), np.zeros(rate_hz)])
    audio = vbr_mp3(np.tile(samples, 2), rate_hz)
    whole, window = decode_recording(audio, sample_rate_hz=rate_hz), np.empty(3000, np.int16)
    for start in range(0, len(whole) - 3000, 2777):
        decode_window(audio, window, draw=(start + 0.5) / (len(whole) - 2999), sample_rate_hz=rate_hz)
        assert np.abs(window.astype(int) - whole[start : start + 3000]).max() <= 1


@pytest.mark.parametrize("seconds", [0.2, 1.0, 7.0])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_window_at_the_end_of_vorbis_is_a_slice_of_the_recording(seconds: float, rate_hz: int) -> None:
    """The window is in the last page of Ogg, which is truncated to the end of the audio."""
    audio = by_libsndfile(noise(seconds, rate_hz, loud=0.2), rate_hz, "OGG", "VORBIS")
    whole, window = decode_recording(audio, sample_rate_hz=rate_hz), np.empty(1000, np.int16)
    for start in [*range(max(0, len(whole) - 30_000), len(whole) - 1000, 1777), len(whole) - 1000]:
        decode_window(audio, window, draw=(start + 0.5) / (len(whole) - 999), sample_rate_hz=rate_hz)
        assert np.abs(window.astype(int) - whole[start : start + 1000]).max() <= 1


@pytest.mark.parametrize("frames", [0, 1, 20_000, 79_000])
def test_flac_that_declares_too_few_frames_is_decoded_completely(frames: int) -> None:
    check(with_flac_frames(by_libsndfile(tone(440, 5.0), RATE_HZ, "FLAC"), frames), 5.0)


@pytest.mark.parametrize("container", ["AU", "AIFF", "WAV"])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_leading_tag_does_not_shift_windows(container: str, subtype: str) -> None:
    audio = by_libsndfile(noise(3, RATE_HZ, loud=0.2), RATE_HZ, container, subtype)
    whole = check(b"ID3\3\0\0\0\0\7\x68" + bytes(1000) + audio, 3.0, within_s=0.04)
    plain = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert np.abs(whole.astype(int) - plain[: len(whole)]).max() <= 1


def known(audio: bytes) -> ReliableLength | None:
    file = audio_source(audio)
    try:
        with file.open() as content, open_with_libsndfile(file, content) as opened:
            return reliable_length(file, opened)
    except CannotOpen:
        return None


SURE = {
    "wav": by_libsndfile(tone(440, 1.0), RATE_HZ, "WAV"),
    "aiff": by_libsndfile(tone(440, 1.0), RATE_HZ, "AIFF", "FLOAT"),
    "flac": by_libsndfile(tone(440, 1.0), RATE_HZ, "FLAC"),
    "vorbis": by_libsndfile(tone(440, 1.0), RATE_HZ, "OGG", "VORBIS"),
    "opus": by_libsndfile(tone(440, 1.0), RATE_HZ, "OGG", "OPUS"),
    "mp3": vbr_mp3(tone(440, 1.0), RATE_HZ),
}
"""Files that contain one second of audio and no other data."""


@pytest.mark.parametrize("audio", SURE.values(), ids=SURE)
def test_the_length_of_an_intact_file_is_verified(audio: bytes) -> None:
    length = known(audio)
    assert length is not None and length.frames == RATE_HZ
    assert length.preroll(0) == 0
    assert all(0 <= length.preroll(start) <= start for start in range(0, RATE_HZ, 997))


@pytest.mark.parametrize("audio", SURE.values(), ids=SURE)
def test_the_length_of_concatenated_files_is_not_verified(audio: bytes) -> None:
    assert known(audio + audio) is None


@pytest.mark.parametrize("kind", ["wav", "aiff"])
def test_large_data_other_than_audio_make_a_length_unreliable(kind: str) -> None:
    audio = SURE[kind]
    assert known(audio + bytes(3000)) is not None
    assert known(audio + bytes(len(audio) // 5)) is None

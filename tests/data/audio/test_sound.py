"""Tests that decoded audio has the length of the encoded audio, and that each range is a slice of the recording."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mulan.data.audio.sound import intact_sound, streamed_sound
from mulan.data.audio.source import audio_source
from mulan.data.audio.windows import covering_windows, decode_recording, decode_window
from mulan.data.errors import DecodeError
from tests.data.audio.decoded import RATE_HZ, check, pitch_hz
from tests.encodings import by_ffmpeg, by_libsndfile, vbr_mp3, without_xing
from tests.sounds import noise, tone


def mono_and_stereo(one_hz: int, other_hz: int, encode: Callable[[np.ndarray, int], bytes]) -> Iterator[bytes]:
    """Yields two files of 3 s with a tone of 440 Hz."""
    one, other = tone(440, 3.0, rate_hz=one_hz), tone(440, 3.0, rate_hz=other_hz)
    yield encode(one, one_hz)
    yield encode(np.stack([other, other], axis=1), other_hz)


ENCODERS: dict[str, Callable[[np.ndarray, int], bytes]] = {
    "mp3": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "MP3"),
    "flac": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "FLAC"),
    "vorbis": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "OGG", "VORBIS"),
    "wav": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "WAV"),
    "aiff": lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "AIFF"),
    "aac": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "adts", "aac"),
    "ac3": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "ac3", "ac3"),
    "flac in ogg": lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "ogg", "flac"),
}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize(("one_hz", "other_hz"), [(44_100, 48_000), (48_000, 32_000), (44_100, 44_100)])
def test_rate_and_channels_may_change_within_a_file(
    encode: Callable[[np.ndarray, int], bytes], one_hz: int, other_hz: int
) -> None:
    """Concatenated streams are one file for a player."""
    whole = check(b"".join(mono_and_stereo(one_hz, other_hz, encode)), 6.0, within_s=0.15, tolerance=60)
    assert [pitch_hz(whole, from_s) for from_s in (1.0, 4.5)] == [440, 440]


def test_the_same_file_twice_is_twice_as_long() -> None:
    for encode in ENCODERS.values():
        once = encode(tone(440, 2.0, rate_hz=44_100), 44_100)
        check(once + once, 4.0, within_s=0.15, tolerance=60)


def test_concatenated_mp4_files_are_decoded_completely() -> None:
    one, other = (by_ffmpeg(tone(440, 2.0, rate_hz=rate_hz), rate_hz, "ipod", "aac") for rate_hz in (44_100, 22_050))
    whole = check(one + other, 4.0, within_s=0.15)
    assert [pitch_hz(whole, from_s) for from_s in (0.5, 2.5)] == [440, 440]


def test_chained_ogg_streams_may_have_different_codecs() -> None:
    vorbis = by_libsndfile(tone(440, 3.0, rate_hz=44_100), 44_100, "OGG", "VORBIS")
    opus = by_libsndfile(tone(440, 3.0, rate_hz=48_000), 48_000, "OGG", "OPUS")
    whole = check(vorbis + opus, 6.0, tolerance=60)
    assert [pitch_hz(whole, from_s) for from_s in (1.0, 4.5)] == [440, 440]


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 44_101, 96_000])
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_a_resampled_window_is_a_slice_of_the_recording(container: str, rate_hz: int) -> None:
    check(by_libsndfile(noise(3, rate_hz, loud=0.2), rate_hz, container), 3.0, within_s=1e-4)


def test_truncated_files_are_decoded_or_rejected() -> None:
    samples = tone(440, 5.0, rate_hz=44_100)
    for audio in (
        by_libsndfile(samples, 44_100, "MP3"),
        by_libsndfile(samples, 44_100, "WAV"),
        by_ffmpeg(samples, 44_100, "adts", "aac"),
    ):
        check(audio[: len(audio) * 6 // 10], 3.0, within_s=0.1)
    for audio in (
        by_libsndfile(samples, 44_100, "FLAC"),
        *(by_ffmpeg(samples, 44_100, "ipod", codec, movflags="+faststart") for codec in ("aac", "alac")),
    ):
        with pytest.raises(DecodeError, match="truncated audio"):
            decode_recording(audio[: len(audio) * 6 // 10], sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("holes", [True, False])
def test_the_sound_before_damage(holes: bool, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cached:
        monkeypatch.setattr("mulan.data.audio.sound.MAX_CACHED_SAMPLES", 2**14)
    audio = by_libsndfile(tone(440, 20.0, rate_hz=44_100), 44_100, "FLAC")
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    half, bad = len(audio) // 2, bytearray(audio)
    if holes:
        for place in range(half, half + 200_000, 20_000):
            bad[place : place + 8000] = bytes(8000)
    else:
        del bad[half:]
    with pytest.raises(DecodeError, match="truncated audio") as caught:
        streamed_sound(audio_source(bytes(bad)), RATE_HZ)
    sound = intact_sound(audio_source(bytes(bad)), RATE_HZ)
    assert str(sound.refusal) == str(caught.value)
    assert sound.fault == f"{caught.value}; the first {sound.seconds:.4g} s are intact"
    assert sound.seconds == pytest.approx(10, abs=0.4) == sound.samples / RATE_HZ
    blocks = np.concatenate(list(sound.blocks()))
    assert len(blocks) == sound.samples and (sound.cached is None) != cached
    assert np.abs(blocks.astype(int) - whole[: len(blocks)])[:-400].max() <= 1
    window = np.empty(RATE_HZ, np.int16)
    sound.fill(window, sound.samples - len(window))
    assert np.array_equal(window, blocks[-len(window) :])


def test_an_intact_sound_is_that_of_training() -> None:
    audio = audio_source(by_libsndfile(tone(440, 2.0, rate_hz=44_100), 44_100, "FLAC"))
    one, other = intact_sound(audio, RATE_HZ), streamed_sound(audio, RATE_HZ)
    assert (one.fault, one.refusal, one.seconds) == ("", None, 2.0)
    assert np.array_equal(next(one.blocks()), next(other.blocks()))


LONG: dict[str, Callable[[np.ndarray], bytes]] = {
    "flac": lambda samples: by_libsndfile(samples, 44_100, "FLAC"),
    "m4a": lambda samples: by_ffmpeg(samples, 44_100, "ipod", "aac"),
    "mp3 without a count": lambda samples: without_xing(vbr_mp3(samples, 44_100)),
}


@pytest.mark.parametrize("encode", LONG.values(), ids=LONG)
def test_memory_does_not_depend_on_the_length_of_a_file(
    encode: Callable[[np.ndarray], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One minute has 10 MiB of float32 samples, and 1.8 MiB of int16 samples at the requested rate."""
    monkeypatch.setattr("mulan.data.audio.sound.MAX_CACHED_SAMPLES", 2**17)
    path = tmp_path / "long"
    path.write_bytes(encode(np.tile(tone(330, 10.0, rate_hz=44_100), 6)))
    audio, window = path.read_bytes(), np.empty(RATE_HZ, np.int16)
    tracemalloc.start()
    try:
        assert decode_window(audio, window, draw=0.5, sample_rate_hz=RATE_HZ) == len(window)
        assert sum(1 for _ in covering_windows(str(path), len(window), sample_rate_hz=RATE_HZ)) in (60, 61)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.01, 9.7, 300.0])
def test_covering_windows_are_slices_of_the_recording(seconds: float) -> None:
    """The longest recording is decoded twice: for its length, and for its windows."""
    audio = by_libsndfile(noise(seconds, 8000, loud=0.1), 8000, "WAV")
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    windows = list(covering_windows(audio, RATE_HZ, sample_rate_hz=RATE_HZ))
    assert len(windows) == max(1, -(-len(whole) // RATE_HZ))
    starts = np.linspace(0, max(0, len(whole) - RATE_HZ), len(windows)).round().astype(int)
    padded = np.pad(whole, (0, RATE_HZ))
    for start, window in zip(starts, windows, strict=True):
        expected = padded[start : start + RATE_HZ] if len(whole) >= RATE_HZ else padded[:RATE_HZ]
        assert np.array_equal(window, expected)

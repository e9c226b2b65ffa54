import io
import tracemalloc
from itertools import pairwise

import av
import numpy as np
import pytest
import scipy.signal
import soundfile

from mulan.data.audio.windows import (
    decode_recording,
    decode_views,
    decode_window,
    duration_s,
    evenly_spaced_windows,
    to_mono_int16,
)
from mulan.data.errors import DecodeError
from tests.sounds import flac, tone

RATE_HZ = 16_000


def encode(samples: np.ndarray, rate_hz: int, container: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def encode_aac(samples: np.ndarray, rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def window_of(audio: bytes, samples: int, *, draw: float) -> np.ndarray:
    window = np.full(samples, 12_345, np.int16)  # memory that was used before
    decode_window(audio, window, draw=draw, sample_rate_hz=RATE_HZ)
    return window


@pytest.mark.parametrize(
    ("container", "subtype"), [("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("OGG", "VORBIS"), ("MP3", None)]
)
@pytest.mark.parametrize("draw", [0.0, 0.37, 0.999999])
def test_a_window_is_a_slice_of_the_whole(container: str, subtype: str | None, draw: float) -> None:
    audio = encode(tone(440, 5.0), RATE_HZ, container, subtype)
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    window = window_of(audio, 20_000, draw=draw)
    start = int(draw * (len(whole) - 20_000 + 1))
    assert np.abs(window.astype(int) - whole[start : start + 20_000]).max() <= 1


def test_stereo_is_averaged_and_resampled() -> None:
    left, right = tone(440, 2.0, rate_hz=44_100), tone(880, 2.0, rate_hz=44_100, seed=1)
    audio = encode(np.stack([left, right], axis=1), 44_100, "FLAC", "PCM_16")
    ours = decode_recording(audio, sample_rate_hz=RATE_HZ) / 32768
    reference = scipy.signal.resample_poly((left.astype(np.float64) + right) / 2, 160, 441)
    assert len(ours) == len(reference) == 32_000
    inner = slice(500, -500)  # the filters differ at the ends
    assert np.sqrt(np.mean((ours - reference)[inner] ** 2)) < 0.005 * np.sqrt(np.mean(reference**2)) + 0.003


def test_a_short_recording_is_followed_by_silence() -> None:
    window = window_of(flac(tone(440, 0.5)), 16_000, draw=0.9)
    assert len(window) == 16_000
    assert np.abs(window[:8000]).max() > 1000
    assert not window[8000:].any()


def test_every_window_is_filled_to_its_end_at_awkward_rates() -> None:
    for rate_hz in (11_025, 22_050, 44_100, 48_000):
        audio = encode(tone(440, 1.5, rate_hz=rate_hz), rate_hz, "WAV", "PCM_16")
        for draw in (0.0, 0.5, 0.99):
            window = window_of(audio, 15_999, draw=draw)
            level = np.abs(window.astype(int)).max()
            assert 1000 < level < 12_345  # nothing is left of what was there
            assert all(np.abs(end.astype(int)).max() > 0.9 * level for end in (window[:40], window[-40:]))


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050, 48_000])
@pytest.mark.parametrize(("seconds", "filled"), [(0.5, 8000), (1.0, 16_000), (1.5, 16_000)])
def test_the_samples_filled_are_told(seconds: float, filled: int, rate_hz: int) -> None:
    audio = encode(tone(440, seconds, rate_hz=rate_hz), rate_hz, "WAV", "PCM_16")
    assert decode_window(audio, np.empty(16_000, np.int16), draw=0.5, sample_rate_hz=RATE_HZ) == filled


def views_of(audio: bytes, count: int, samples: int, *, draw: float) -> np.ndarray:
    views = np.full((count, samples), 12_345, np.int16)  # memory that was used before
    decode_views(audio, views, draw=draw, sample_rate_hz=RATE_HZ)
    return views


FORMATS = {
    "flac": encode(tone(440, 3.0), RATE_HZ, "FLAC", "PCM_16"),
    "at 48 kHz": encode(tone(440, 3.0, rate_hz=48_000), 48_000, "WAV", "PCM_16"),
    "stereo at 22 kHz": encode(np.stack([tone(440, 3.0, rate_hz=22_050)] * 2, axis=1), 22_050, "OGG", "VORBIS"),
    "aac": encode_aac(tone(440, 3.0), RATE_HZ),
}
"""Three seconds each."""


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("draw", [0.0, 0.37, 0.999999])
def test_views_of_a_long_recording_are_adjacent(audio: bytes, draw: float) -> None:
    for count, samples in ((2, 20_001), (3, 14_000), (2, 1000)):
        views = views_of(audio, count, samples, draw=draw)
        assert views.reshape(-1).tolist() == window_of(audio, count * samples, draw=draw).tolist()


@pytest.mark.parametrize("draw", [0.0, 0.999999])
def test_views_of_a_recording_as_long_as_all_of_them_are_all_of_it(draw: float) -> None:
    views = views_of(FORMATS["flac"], 2, 24_000, draw=draw)
    assert np.array_equal(views.reshape(-1), decode_recording(FORMATS["flac"], sample_rate_hz=RATE_HZ))


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("draw", [0.0, 0.999999])
@pytest.mark.parametrize(("count", "samples"), [(2, 25_000), (2, 40_001), (3, 20_000), (4, 30_001)])
def test_views_of_a_shorter_recording_overlap_from_its_start_to_its_end(
    audio: bytes, draw: float, count: int, samples: int
) -> None:
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    views = views_of(audio, count, samples, draw=draw)
    starts = [round(number * (len(whole) - samples) / (count - 1)) for number in range(count)]
    assert starts[0] == 0 and starts[-1] == len(whole) - samples
    assert 0 < max(after - before for before, after in pairwise(starts)) < samples  # none is left out
    for view, start in zip(views, starts, strict=True):
        assert np.array_equal(view, whole[start : start + samples])


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("samples", [48_000 + 3 * 1024, 70_000])
def test_a_recording_shorter_than_a_view_is_in_all_of_them(audio: bytes, samples: int) -> None:
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    views = views_of(audio, 3, samples, draw=0.9)
    for view in views:
        assert np.array_equal(view[: len(whole)], whole)
        assert not view[len(whole) :].any()


@pytest.mark.parametrize("samples", [10_000, 48_000, 60_000])
def test_a_single_view_is_a_window(samples: int) -> None:
    for audio in FORMATS.values():
        views = views_of(audio, 1, samples, draw=0.7)
        assert np.array_equal(views[0], window_of(audio, samples, draw=0.7))


def test_what_libsndfile_does_not_read_falls_to_pyav() -> None:
    samples = tone(440, 2.0)
    audio = encode_aac(samples, RATE_HZ)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(io.BytesIO(audio))
    decoded = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert abs(len(decoded) - len(samples)) <= 3 * 1024
    spectrum = np.abs(np.fft.rfft(decoded[4000:20_000].astype(float)))
    assert np.argmax(spectrum) * RATE_HZ / 16_000 == pytest.approx(440, abs=2)
    start = (len(decoded) - 8000 + 1) // 2
    assert np.array_equal(window_of(audio, 8000, draw=0.5), decoded[start : start + 8000])
    assert duration_s(audio) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_keeps_its_pitch_at_every_rate(rate_hz: int) -> None:
    window = window_of(encode(tone(440, 2.0, rate_hz=rate_hz), rate_hz, "WAV", "PCM_16"), 16_000, draw=0.6)
    spectrum = np.abs(np.fft.rfft(window.astype(float)))
    assert np.argmax(spectrum) == 440  # a second: a bin is a hertz
    assert spectrum[440] == pytest.approx(0.3 * 32_768 * 8000, rel=0.01)


@pytest.mark.parametrize("rate_hz", [1, 999, 1_000_001, 100_000_000, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused(rate_hz: int) -> None:
    audio = encode(tone(440, 1.0), rate_hz, "WAV", "PCM_16")
    for read in (
        lambda: window_of(audio, 16_000, draw=0.5),
        lambda: decode_recording(audio, sample_rate_hz=RATE_HZ),
        lambda: duration_s(audio),
    ):
        with pytest.raises(DecodeError, match=f"impossible sample rate: {rate_hz} Hz"):
            read()


@pytest.mark.parametrize("channels", [2, 8, 64, 1000])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_any_number_of_channels_is_mixed_down(channels: int, subtype: str) -> None:
    """The last of them are more than what is read at once."""
    samples = np.random.default_rng(channels).integers(-32_768, 32_768, (5000, channels))
    given = samples.astype(np.int16) if subtype == "PCM_16" else samples / 32_768
    audio = encode(given, RATE_HZ, "WAV", subtype)
    decoded = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert np.abs(decoded - samples.mean(axis=1)).max() < 0.51
    assert np.array_equal(window_of(audio, 2000, draw=0.999999), decoded[3000:])


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 46])
@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_s16le_planar"])
def test_any_number_of_channels_of_pyav_is_mixed_down(channels: int, codec: str) -> None:
    """Of samples in planes PyAV itself reads more than there are, beyond 7 channels."""
    samples = np.random.default_rng(channels).uniform(-1, 1, (channels, 5000)).astype(np.float32)
    buffer, layout = io.BytesIO(), f"{channels} channels"
    with av.open(buffer, "w", format="nut") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    decoded = decode_recording(buffer.getvalue(), sample_rate_hz=RATE_HZ)
    assert np.abs(decoded - samples.mean(axis=0, dtype=float) * 32_768).max() < 1.1


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
def test_less_sound_than_is_asked_for_is_refused(audio: bytes) -> None:
    held_s, window = duration_s(audio), np.empty(1000, np.int16)
    decode_window(audio, window, draw=0.5, sample_rate_hz=RATE_HZ, min_duration_s=held_s)
    for decode, into in ((decode_window, window), (decode_views, window.reshape(2, 500))):
        with pytest.raises(DecodeError, match=r"too short: 3(\.\d+)? s of sound, less than 3\.\d+ s"):
            decode(audio, into, draw=0.5, sample_rate_hz=RATE_HZ, min_duration_s=held_s + 1e-4)


def with_frames(audio: bytes, frames: int) -> bytes:
    """A FLAC file whose header promises so many."""
    fields = int.from_bytes(audio[18:26])  # rate, channels, bits, and in the last 36 bits the frames
    return audio[:18] + (fields >> 36 << 36 | frames).to_bytes(8) + audio[26:]


def test_a_flac_stream_of_unknown_length_is_read() -> None:
    stream = with_frames(FORMATS["flac"], 0)
    whole = decode_recording(FORMATS["flac"], sample_rate_hz=RATE_HZ)
    assert np.array_equal(decode_recording(stream, sample_rate_hz=RATE_HZ), whole)
    assert np.array_equal(window_of(stream, 8000, draw=0.5), window_of(FORMATS["flac"], 8000, draw=0.5))


@pytest.mark.parametrize("frames", [60_000, 2**31, 2**36 - 1])
def test_memory_is_not_taken_for_frames_that_are_only_promised(frames: int) -> None:
    audio = with_frames(FORMATS["flac"], frames)
    tracemalloc.start()
    try:
        for read in (lambda: decode_recording(audio, sample_rate_hz=RATE_HZ), lambda: window_of(audio, 16_000, draw=1)):
            with pytest.raises(DecodeError, match="truncated audio"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_loud_samples_are_clipped_and_not_wrapped() -> None:
    assert to_mono_int16(np.array([[2.0], [-2.0], [0.5]]), 1, 1).tolist() == [32767, -32768, 16384]


def _with_nan() -> bytes:
    return encode(np.array([0.0, np.nan, 0.5], np.float32), RATE_HZ, "WAV", "FLOAT")


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (b"", "undecodable audio"),
        (b"not audio at all" * 100, "undecodable audio"),
        (flac(tone(440, 5.0))[:20_000], "truncated audio"),
        (encode(np.zeros((0, 1), np.float32), RATE_HZ, "WAV"), "no samples"),
        (_with_nan(), "samples not finite"),
    ],
    ids=["empty", "noise", "cut off", "no samples", "nan"],
)
def test_bad_audio_has_a_reason(audio: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        window_of(audio, 16_000, draw=0.99)
    assert caught.value.reason == reason


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DecodeError, match=r"missing file: /nowhere/song\.mp3: No such file"):
        decode_recording("/nowhere/song.mp3", sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    ("samples", "expected"), [(10, [0]), (100, [0]), (101, [0, 1]), (250, [0, 75, 150]), (300, [0, 100, 200])]
)
def test_windows_cover_a_recording_evenly(samples: int, expected: list[int]) -> None:
    assert evenly_spaced_windows(samples, 100).tolist() == expected

import io
import tracemalloc
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile

from mulan.data.audio.windows import (
    decode_recording,
    decode_views,
    decode_window,
    duration_s,
    evenly_spaced_windows,
)
from mulan.data.errors import DecodeError
from tests.data.audio.decoded import RATE_HZ, window_of
from tests.sounds import flac, tone


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


@pytest.mark.parametrize(
    ("container", "subtype"), [("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("OGG", "VORBIS"), ("MP3", None)]
)
@pytest.mark.parametrize("draw", [0.0, 0.37, 0.999999])
def test_a_window_is_a_slice_of_the_recording(container: str, subtype: str | None, draw: float) -> None:
    audio = encode(tone(440, 5.0), RATE_HZ, container, subtype)
    whole = decode_recording(audio, sample_rate_hz=RATE_HZ)
    window = window_of(audio, 20_000, draw=draw)
    start = int(draw * (len(whole) - 20_000 + 1))
    assert np.abs(window.astype(int) - whole[start : start + 20_000]).max() <= 1


def test_a_short_recording_is_padded_with_silence() -> None:
    window = window_of(flac(tone(440, 0.5)), 16_000, draw=0.9)
    assert len(window) == 16_000
    assert np.abs(window[:8000]).max() > 1000
    assert not window[8000:].any()


def test_every_window_is_filled_completely_at_other_rates() -> None:
    for rate_hz in (11_025, 22_050, 44_100, 48_000):
        audio = encode(tone(440, 1.5, rate_hz=rate_hz), rate_hz, "WAV", "PCM_16")
        for draw in (0.0, 0.5, 0.99):
            window = window_of(audio, 15_999, draw=draw)
            level = np.abs(window.astype(int)).max()
            assert 1000 < level < 12_345  # no value of the reused memory remains
            assert all(np.abs(end.astype(int)).max() > 0.9 * level for end in (window[:40], window[-40:]))


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050, 48_000])
@pytest.mark.parametrize(("seconds", "filled"), [(0.5, 8000), (1.0, 16_000), (1.5, 16_000)])
def test_the_number_of_filled_samples_is_returned(seconds: float, filled: int, rate_hz: int) -> None:
    audio = encode(tone(440, seconds, rate_hz=rate_hz), rate_hz, "WAV", "PCM_16")
    assert decode_window(audio, np.empty(16_000, np.int16), draw=0.5, sample_rate_hz=RATE_HZ) == filled


def views_of(audio: bytes, count: int, samples: int, *, draw: float) -> np.ndarray:
    views = np.full((count, samples), 12_345, np.int16)  # reused memory
    decode_views(audio, views, draw=draw, sample_rate_hz=RATE_HZ)
    return views


FORMATS = {
    "flac": encode(tone(440, 3.0), RATE_HZ, "FLAC", "PCM_16"),
    "at 48 kHz": encode(tone(440, 3.0, rate_hz=48_000), 48_000, "WAV", "PCM_16"),
    "stereo at 22 kHz": encode(np.stack([tone(440, 3.0, rate_hz=22_050)] * 2, axis=1), 22_050, "OGG", "VORBIS"),
    "aac": encode_aac(tone(440, 3.0), RATE_HZ),
}
"""Files of three seconds."""


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("draw", [0.0, 0.37, 0.999999])
def test_views_of_a_long_recording_are_adjacent(audio: bytes, draw: float) -> None:
    for count, samples in ((2, 20_001), (3, 14_000), (2, 1000)):
        views = views_of(audio, count, samples, draw=draw)
        assert views.reshape(-1).tolist() == window_of(audio, count * samples, draw=draw).tolist()


@pytest.mark.parametrize("draw", [0.0, 0.999999])
def test_views_as_long_as_the_recording_cover_all_of_it(draw: float) -> None:
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
    assert 0 < max(after - before for before, after in pairwise(starts)) < samples  # no sample is skipped
    for view, start in zip(views, starts, strict=True):
        assert np.array_equal(view, whole[start : start + samples])


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("samples", [48_000 + 3 * 1024, 70_000])
def test_each_view_contains_all_of_a_recording_shorter_than_a_view(audio: bytes, samples: int) -> None:
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


@pytest.mark.parametrize("audio", FORMATS.values(), ids=FORMATS)
def test_recordings_below_the_minimum_duration_are_rejected(audio: bytes) -> None:
    held_s, window = duration_s(audio), np.empty(1000, np.int16)
    decode_window(audio, window, draw=0.5, sample_rate_hz=RATE_HZ, min_duration_s=held_s)
    for decode, into in ((decode_window, window), (decode_views, window.reshape(2, 500))):
        with pytest.raises(DecodeError, match=r"too short: 3(\.\d+)? s of audio, less than 3\.\d+ s"):
            decode(audio, into, draw=0.5, sample_rate_hz=RATE_HZ, min_duration_s=held_s + 1e-4)


def with_frames(audio: bytes, frames: int) -> bytes:
    """Returns a FLAC file whose header declares a given number of frames."""
    fields = int.from_bytes(audio[18:26])  # rate, channels, bits, and in the last 36 bits the frames
    return audio[:18] + (fields >> 36 << 36 | frames).to_bytes(8) + audio[26:]


def test_a_flac_stream_of_unknown_length_is_read() -> None:
    stream = with_frames(FORMATS["flac"], 0)
    whole = decode_recording(FORMATS["flac"], sample_rate_hz=RATE_HZ)
    assert np.array_equal(decode_recording(stream, sample_rate_hz=RATE_HZ), whole)
    assert np.array_equal(window_of(stream, 8000, draw=0.5), window_of(FORMATS["flac"], 8000, draw=0.5))


@pytest.mark.parametrize("frames", [60_000, 2**31, 2**36 - 1])
def test_memory_is_not_allocated_for_frames_that_are_only_declared(frames: int) -> None:
    audio = with_frames(FORMATS["flac"], frames)
    tracemalloc.start()
    try:
        for read in (lambda: decode_recording(audio, sample_rate_hz=RATE_HZ), lambda: window_of(audio, 16_000, draw=1)):
            with pytest.raises(DecodeError, match="truncated audio"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


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

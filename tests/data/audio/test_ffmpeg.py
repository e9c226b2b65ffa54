"""Tests that files only FFmpeg reads are decoded completely, past damaged packets, without opening other files."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from mulan.data.audio.windows import (
    decode_recording,
    duration_s,
)
from mulan.data.errors import DecodeError
from tests.data.audio.decoded import RATE_HZ, check, pitch_hz, window_of
from tests.encodings import by_ffmpeg, by_libsndfile
from tests.sounds import tone


@pytest.mark.parametrize(
    ("container", "codec"), [("wv", "wavpack"), ("ac3", "ac3"), ("tta", "tta"), ("mp3", "libmp3lame")]
)
def test_samples_decoded_before_a_fault_are_kept(container: str, codec: str) -> None:
    """A tag of a different format follows the audio, for which FFmpeg's demuxers and decoders raise various errors."""
    audio = by_ffmpeg(tone(440, 4.0, rate_hz=44_100), 44_100, container, codec)
    check(audio + b"TAG" + bytes(125), 4.0)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("ipod", "aac"),
        ("ipod", "alac"),
        ("mp4", "flac"),
        ("adts", "aac"),
        ("matroska", "libopus"),
        ("ac3", "ac3"),
        ("tta", "tta"),
        ("wv", "wavpack"),
        ("mpegts", "aac"),
        ("avi", "libmp3lame"),
        ("mp2", "mp2"),
        ("ogg", "flac"),
    ],
)
def test_a_window_decoded_by_ffmpeg_is_a_slice_of_the_recording(container: str, codec: str) -> None:
    rate_hz = 48_000 if codec == "libopus" else 44_100
    samples = np.stack([tone(440, 4.0, rate_hz=rate_hz)] * 2, axis=1)
    assert pitch_hz(check(by_ffmpeg(samples, rate_hz, container, codec), 4.0, within_s=0.08), 1.5) == 440


def test_one_damaged_packet_is_tolerated_and_many_are_rejected() -> None:
    audio = bytearray(by_ffmpeg(tone(440, 20.0, rate_hz=44_100), 44_100, "mp4", "flac", movflags="+faststart"))
    middle = len(audio) // 2
    audio[middle : middle + 60] = np.random.default_rng(1).bytes(60)
    assert len(decode_recording(bytes(audio), sample_rate_hz=RATE_HZ)) / RATE_HZ == pytest.approx(20, abs=0.15)
    for place in range(middle, middle + 200_000, 20_000):
        audio[place : place + 60] = np.random.default_rng(place).bytes(60)
    with pytest.raises(DecodeError, match="damaged audio"):
        decode_recording(bytes(audio), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD><Period><AdaptationSet><BaseURL>{}</BaseURL></AdaptationSet></Period></MPD>',
        "{}",
    ],
    ids=["concat", "playlist", "playlist of addresses", "session", "dash", "path"],
)
def test_a_playlist_does_not_open_other_files(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("private.wav").write_bytes(by_libsndfile(tone(440, 3.0), RATE_HZ, "WAV"))
    for name in ("private.wav", str(tmp_path / "private.wav")):
        with pytest.raises(DecodeError, match="undecodable audio"):
            decode_recording(text.format(name).encode(), sample_rate_hz=RATE_HZ)


def test_formats_unknown_to_libsndfile_are_decoded_by_ffmpeg() -> None:
    samples = tone(440, 2.0)
    audio = by_ffmpeg(samples, RATE_HZ, "adts", "aac")
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(io.BytesIO(audio))
    decoded = decode_recording(audio, sample_rate_hz=RATE_HZ)
    assert abs(len(decoded) - len(samples)) <= 3 * 1024
    spectrum = np.abs(np.fft.rfft(decoded[4000:20_000].astype(float)))
    assert np.argmax(spectrum) * RATE_HZ / 16_000 == pytest.approx(440, abs=2)
    start = (len(decoded) - 8000 + 1) // 2
    assert np.array_equal(window_of(audio, 8000, draw=0.5), decoded[start : start + 8000])
    assert duration_s(audio) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 46])
@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_s16le_planar"])
def test_any_number_of_channels_is_mixed_down_with_ffmpeg(channels: int, codec: str) -> None:
    """For planar samples with more than 7 channels, PyAV itself reads invalid memory."""
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

"""Tests which excerpt of a recording becomes its clip, what is measured of it, and which recordings are refused."""

import hashlib
import io
import struct
import tracemalloc
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mulan.data.audio import sound
from mulan.data.audio.windows import decode_recording
from mulan.data.errors import DecodeError
from mulan.preparation import clips
from mulan.preparation.clips import Clip, clipped_share, make_clip, silent_share
from mulan.preparation.settings import ClipConfig
from tests.encodings import by_ffmpeg, by_libsndfile, cbr_mp3, vbr_mp3
from tests.sounds import flac, noise, tone

RATE_HZ = 1000
SHORT = ClipConfig(start_s=3, duration_s=4, sample_rate_hz=RATE_HZ, min_duration_s=0.5)


def samples_of(clip: Clip) -> np.ndarray:
    return soundfile.read(io.BytesIO(clip.flac), dtype="int16")[0]


def ramp(seconds: float) -> np.ndarray:
    """Returns samples, int16, that are all different, so that they show where an excerpt begins and ends."""
    return np.arange(round(seconds * RATE_HZ), dtype=np.int16) - 16_000


def wav(samples: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    return by_libsndfile(samples, rate_hz, "WAV", "PCM_16")


EXCERPTS = [
    # start and duration of the clip, duration of the recording, part of it, and the expected excerpt in seconds
    (3, 4, 20, (None, None), (3, 7)),
    (3, 4, 7, (None, None), (3, 7)),
    (3, 4, 6.5, (None, None), (2.5, 6.5)),
    (3, 4, 4, (None, None), (0, 4)),
    (3, 4, 3.2, (None, None), (0, 3.2)),
    (0, 4, 20, (None, None), (0, 4)),
    (3, 0, 20, (None, None), (0, 20)),
    (3, 4, 20, (10, None), (13, 17)),
    (3, 4, 20, (10, 15), (11, 15)),
    (3, 4, 20, (10, 12.5), (10, 12.5)),
    (3, 4, 20, (None, 5), (1, 5)),
    (3, 4, 20, (18, 28), (18, 20)),
    (3, 0, 20, (5, 15), (5, 15)),
]


@pytest.mark.parametrize(("start_s", "duration_s", "recording_s", "part", "expected"), EXCERPTS)
@pytest.mark.parametrize("seekable", [True, False])
def test_the_excerpt(
    start_s: float,
    duration_s: float,
    recording_s: float,
    part: tuple[float | None, float | None],
    expected: tuple[float, float],
    seekable: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not seekable:
        monkeypatch.setattr(clips, "seekable_sound", lambda *_: None)
    config = SHORT.replace(start_s=start_s, duration_s=duration_s)
    clip = make_clip(wav(ramp(recording_s)), config, start_s=part[0], end_s=part[1])
    first, last = (round(second * RATE_HZ) for second in expected)
    assert np.array_equal(samples_of(clip), ramp(recording_s)[first:last])
    assert (clip.duration_s, clip.recording_s, clip.fault) == ((last - first) / RATE_HZ, recording_s, "")


@pytest.mark.parametrize(
    ("recording_s", "part", "detail"),
    [
        (0.4, (None, None), "0.4 s of audio, less than 0.5 s"),
        (20, (25, None), "0 s of audio in the part from 25 s, less than 0.5 s"),
        (20, (19.75, 30), "0.25 s of audio in the part from 19.75 s to 30 s, less than 0.5 s"),
        (20, (7, 5), "0 s of audio in the part from 7 s to 5 s, less than 0.5 s"),
    ],
)
def test_too_short_recordings_and_parts_are_refused(
    recording_s: float, part: tuple[float | None, float | None], detail: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        make_clip(wav(ramp(recording_s)), SHORT, start_s=part[0], end_s=part[1])
    assert (caught.value.reason, caught.value.detail) == ("too short", detail)


@pytest.mark.parametrize("encode", [cbr_mp3, vbr_mp3, lambda x, hz: by_libsndfile(x, hz, "FLAC")])
def test_a_clip_is_a_slice_of_the_resampled_recording(encode: Callable[[np.ndarray, int], bytes]) -> None:
    mono = noise(9, 44_100, loud=0.2)
    audio = encode(np.stack([mono, 0.5 * mono[::-1]], axis=1), 44_100)
    config = ClipConfig(start_s=3, duration_s=4)
    clip, whole = make_clip(audio, config), decode_recording(audio, sample_rate_hz=16_000)
    found = samples_of(clip).astype(int)
    assert len(found) == 4 * 16_000 and clip.duration_s == 4
    assert np.abs(found - whole[3 * 16_000 : 7 * 16_000]).max() <= 1
    assert clip.recording_s == pytest.approx(len(whole) / 16_000, abs=1e-4)


def test_the_file_of_a_clip(tmp_path: Path) -> None:
    audio = by_libsndfile(noise(3, 44_100, loud=0.2), 44_100, "AIFF")
    path = tmp_path / "sound.aiff"
    path.write_bytes(audio)
    clip = make_clip(audio, ClipConfig())
    info = soundfile.info(io.BytesIO(clip.flac))
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("FLAC", "PCM_16", 1, 16_000)
    assert info.frames == clip.duration_s * 16_000 == 48_000
    assert make_clip(audio, ClipConfig()) == clip == make_clip(str(path), ClipConfig())
    assert make_clip(clip.flac, ClipConfig()) == clip  # a clip of a clip


def test_the_hash_depends_on_samples_and_rate_only() -> None:
    config = ClipConfig(sample_rate_hz=RATE_HZ)
    clip = make_clip(wav(ramp(2)), config)
    content = struct.pack("<I2000h", RATE_HZ, *ramp(2).tolist())
    assert clip.sha256 == hashlib.sha256(content).hexdigest()
    assert make_clip(flac(ramp(2), rate_hz=RATE_HZ), config).sha256 == clip.sha256
    assert make_clip(wav(ramp(2), 2 * RATE_HZ), config.replace(sample_rate_hz=2 * RATE_HZ)).sha256 != clip.sha256
    changed = ramp(2)
    changed[1234] += 1
    assert make_clip(wav(changed), config).sha256 != clip.sha256


def silent_by_hand(samples: list[int], rate_hz: int) -> float:
    seconds = [samples[at : at + rate_hz] for at in range(0, len(samples), rate_hz)]
    silent = [second for second in seconds if max(second) - min(second) <= 64]
    return sum(map(len, silent)) / len(samples)


def clipped_by_hand(samples: list[int]) -> float:
    runs = [(value, len(list(run))) for value, run in groupby(samples)]
    return sum(length for value, length in runs if value in (32767, -32768) and length >= 3) / len(samples)


@pytest.mark.parametrize("seed", range(20))
def test_measures_equal_those_of_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = [rng.integers(-1000, 1000) + rng.integers(-s, s + 1, 50) for s in rng.choice([0, 32, 33, 400], 7)]
    samples = np.concatenate(seconds)[: rng.integers(1, 350)].astype(np.int16)
    assert silent_share(samples, 50) == pytest.approx(silent_by_hand(samples.tolist(), 50), abs=1e-12)
    loud = rng.choice([32767, -32768, 32766, 0], rng.integers(1, 300), p=[0.45, 0.4, 0.1, 0.05]).astype(np.int16)
    assert clipped_share(loud) == pytest.approx(clipped_by_hand(loud.tolist()), abs=1e-12)


def test_measures_are_those_of_the_clip() -> None:
    loud = np.clip(40_000 * np.sin(np.arange(4000) / 50), -32_768, 32_767).astype(np.int16)
    clip = make_clip(wav(np.concatenate([loud, np.zeros(4000, np.int16)])), SHORT)  # seconds 3 to 7
    assert clip.silent_share == 0.75
    assert clip.clipped_share == pytest.approx(clipped_by_hand(samples_of(clip).tolist()))
    assert 0.05 < clip.clipped_share < 0.2


@pytest.mark.parametrize("offset", [0, 1000])
def test_silent_recordings_are_refused(offset: int) -> None:
    hiss = (offset + 30 * np.sin(np.arange(20_000))).astype(np.int16)
    with pytest.raises(DecodeError, match="silent audio: 100% of 4 s are silent"):
        make_clip(wav(hiss), SHORT)
    hiss[:1000] = ramp(1)  # outside the clip
    with pytest.raises(DecodeError, match="silent audio"):
        make_clip(wav(hiss), SHORT)
    hiss[3000:4000] = ramp(1)
    assert make_clip(wav(hiss), SHORT).silent_share == 0.75
    assert make_clip(wav(hiss), SHORT.replace(max_silence=0.75)).silent_share == 0.75
    with pytest.raises(DecodeError, match="silent audio: 75%"):
        make_clip(wav(hiss), SHORT.replace(max_silence=0.74))


def test_errors_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"missing file: .*nowhere\.mp3"):
        make_clip(str(tmp_path / "nowhere.mp3"), ClipConfig())
    path = tmp_path / "text.mp3"
    path.write_text("not audio")
    with pytest.raises(DecodeError, match=r"undecodable audio: .*text\.mp3: "):
        make_clip(str(path), ClipConfig())


def test_only_the_excerpt_of_a_long_mp3_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = vbr_mp3(tone(330, 150.0, rate_hz=8000), 8000)
    frames, read = [], sound.read_mono

    def counting(*arguments: object, **named: object) -> np.ndarray:
        frames.append(len(result := read(*arguments, **named)))  # type: ignore[arg-type]
        return result

    monkeypatch.setattr(sound, "read_mono", counting)
    clip = make_clip(audio, ClipConfig(start_s=100, duration_s=10))
    assert clip.duration_s == 10 and clip.recording_s == pytest.approx(150, abs=0.1)
    assert 10 * 8000 <= sum(frames) < 11 * 8000


def test_memory_depends_on_the_clip_only(tmp_path: Path) -> None:
    """One minute of float samples at 44.1 kHz has 10 MiB, and the clip 64 kB."""
    path = tmp_path / "long.flac"
    path.write_bytes(by_libsndfile(np.tile(tone(330, 10.0, rate_hz=44_100), 12), 44_100, "FLAC"))
    tracemalloc.start()
    try:
        assert make_clip(str(path), ClipConfig(start_s=60, duration_s=2)).duration_s == 2
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**20
    finally:
        tracemalloc.stop()


def test_a_long_clip_is_decoded_in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = vbr_mp3(noise(20, 44_100, loud=0.2), 44_100)
    config = ClipConfig(duration_s=0)
    whole = samples_of(make_clip(audio, config)).astype(int)
    monkeypatch.setattr(clips, "_MAX_RANGE_SAMPLES", 70_001)
    monkeypatch.setattr(clips, "intact_sound", pytest.fail)  # it would be the remedy for a wrong range
    assert np.abs(samples_of(make_clip(audio, config)) - whole).max() <= 1
    assert len(whole) == pytest.approx(20 * 16_000, abs=2)


def test_an_aac_clip_of_a_part() -> None:
    audio = by_ffmpeg(
        np.concatenate([tone(440, 10, rate_hz=44_100), tone(880, 10, rate_hz=44_100)]), 44_100, "ipod", "aac"
    )
    clip = make_clip(audio, ClipConfig(), start_s=11, end_s=14)
    assert np.argmax(np.abs(np.fft.rfft(samples_of(clip).astype(float)))) == pytest.approx(3 * 880, abs=1)
    assert clip.duration_s == 3 and clip.recording_s == pytest.approx(20, abs=0.1)

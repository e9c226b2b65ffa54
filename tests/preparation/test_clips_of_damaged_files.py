"""Tests that what precedes the damage of a recording counts as the recording, in synthetic files and in odd ones.

The folder of the odd files is named by MULAN_ODD_AUDIO, as in ``tests/data/audio/test_windows_odd_files.py``.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mulan.data.audio.windows import decode_recording
from mulan.data.errors import DecodeError
from mulan.preparation import clips
from mulan.preparation.clips import make_clip
from mulan.preparation.settings import ClipConfig
from tests.data.audio.test_windows_odd_files import REFUSED, SOUNDS, VARIABLE
from tests.encodings import by_ffmpeg, by_libsndfile
from tests.sounds import tone

WHOLE = ClipConfig(start_s=0, duration_s=0)
FOLDER = Path(os.environ.get(VARIABLE, ""))
with_odd_files = pytest.mark.skipif(
    VARIABLE not in os.environ or not FOLDER.is_dir(), reason=f"{VARIABLE} names no folder of odd audio files"
)


FAULTS = {
    # FFmpeg does not decode one packet in the middle, and libsndfile decodes less
    "minimp3/vectors/l3-nonstandard-compl-sideinfo-bigvalues.bit": (
        "damaged audio: Invalid data found when processing input; the first 4.56 s are intact"
    )
}


def samples_of(flac: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(flac), dtype="int16")[0].astype(int)


def damaged(audio: bytes, places: range, size: int = 8000) -> bytes:
    """Returns a file with zeros at these places; a frame has about 4000 bytes."""
    content = bytearray(audio)
    for place in places:
        content[place : place + size] = bytes(size)
    return bytes(content)


INTACT = tone(440, 20.0, rate_hz=44_100)
FLAC = by_libsndfile(INTACT, 44_100, "FLAC")
MP4 = {
    codec: by_ffmpeg(INTACT, 44_100, "mp4" if codec == "flac" else "ipod", codec, movflags="+faststart")
    for codec in ("aac", "alac", "flac")
}


@pytest.mark.parametrize("audio", [FLAC, *MP4.values()], ids=["flac", *(f"{codec} in mp4" for codec in MP4)])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_the_beginning_of_a_truncated_file_is_used(audio: bytes, share: float) -> None:
    cut = audio[: int(len(audio) * share)]
    with pytest.raises(DecodeError, match="truncated audio"):
        decode_recording(cut, sample_rate_hz=16_000)
    clip, intact = make_clip(cut, WHOLE), samples_of(make_clip(audio, WHOLE).flac)
    assert clip.recording_s == pytest.approx(20 * share, abs=0.7) and clip.recording_s < 20 * share + 0.3
    assert clip.fault.startswith("truncated audio: ") and clip.fault.endswith(
        f"; the first {clip.recording_s:.4g} s are intact"
    )
    sure = len(samples_of(clip.flac)) - 400  # the resampling filter reaches beyond the end
    assert np.abs(samples_of(clip.flac)[:sure] - intact[:sure]).max() <= 1


def test_the_beginning_must_be_long_enough() -> None:
    cut = FLAC[: len(FLAC) * 6 // 10]
    with pytest.raises(DecodeError, match=r"truncated audio: it ends after 1[12](\.\d)? s of 20 s"):
        make_clip(cut, WHOLE.replace(min_duration_s=15))
    with pytest.raises(DecodeError, match="truncated audio"):
        make_clip(cut, WHOLE, start_s=15)
    assert make_clip(cut, WHOLE, start_s=5, end_s=8).duration_s == 3


def test_what_precedes_many_damaged_packets_is_used() -> None:
    audio = MP4["flac"]
    bad = damaged(audio, range(len(audio) // 2, len(audio) // 2 + 200_000, 20_000))
    with pytest.raises(DecodeError, match="damaged audio"):
        decode_recording(bad, sample_rate_hz=16_000)
    clip, intact = make_clip(bad, WHOLE), samples_of(make_clip(audio, WHOLE).flac)
    assert clip.recording_s == pytest.approx(10, abs=0.4)
    assert clip.fault.startswith("damaged audio: ") and clip.fault.endswith(
        f"; the first {clip.recording_s:.4g} s are intact"
    )
    sure = len(samples_of(clip.flac)) - 400
    assert np.abs(samples_of(clip.flac)[:sure] - intact[:sure]).max() <= 1


@pytest.mark.parametrize(("audio", "size"), [(FLAC, 2000), (MP4["aac"], 300)], ids=["flac", "aac"])
def test_a_single_damaged_packet_is_named(audio: bytes, size: int) -> None:
    bad = damaged(audio, range(len(audio) // 2, len(audio) // 2 + 1), size)
    clip = make_clip(bad, WHOLE)
    assert clip.recording_s == pytest.approx(20, abs=0.2)
    assert clip.fault.startswith("damaged audio: ")
    assert float(clip.fault.split()[-4]) == pytest.approx(10, abs=0.4)
    assert make_clip(audio, WHOLE).fault == ""


def test_damage_at_the_excerpt_of_a_file_of_known_length() -> None:
    """libsndfile can seek in the file, but not decode what is there; FFmpeg skips it without an error."""
    bad = damaged(FLAC, range(len(FLAC) // 2, len(FLAC) // 2 + 200_000, 20_000))
    clip = make_clip(bad, ClipConfig(start_s=12, duration_s=3))
    assert clip.recording_s == pytest.approx(10, abs=0.4)
    assert (clip.duration_s, clip.fault[:16]) == (3, "truncated audio:")
    whole = decode_recording(FLAC, sample_rate_hz=16_000)
    last = int(clip.recording_s * 16_000)
    assert np.abs(samples_of(clip.flac) - whole[last - 48_000 : last])[:-400].max() <= 1
    assert make_clip(bad, ClipConfig(start_s=2, duration_s=3)).fault == ""  # of other parts nothing is decoded


@pytest.mark.parametrize("position", [0, 1])
def test_concatenated_files_are_used_up_to_the_damage(position: int) -> None:
    cut = FLAC[: len(FLAC) * 6 // 10]
    audio = FLAC + cut if position else cut + FLAC
    with pytest.raises(DecodeError, match="truncated audio"):
        decode_recording(audio, sample_rate_hz=16_000)
    clip = make_clip(audio, WHOLE)
    assert clip.recording_s == pytest.approx(32 if position else 12, abs=0.3)
    assert clip.fault.startswith("truncated audio: ") and clip.fault.endswith(
        f"; the first {clip.recording_s:.4g} s are intact"
    )


def test_a_concatenated_file_that_cannot_be_decoded_ends_the_recording() -> None:
    wav = bytearray(by_libsndfile(INTACT, 44_100, "WAV"))
    wav[20:22] = b"\x99\x99"  # no known codec
    clip = make_clip(by_libsndfile(INTACT, 44_100, "WAV") + bytes(wav), WHOLE)
    assert clip.recording_s == pytest.approx(20, abs=0.1)
    assert clip.fault.startswith("undecodable audio: ") and clip.fault.endswith("; the first 20 s are intact")


def test_not_a_sample_before_the_damage() -> None:
    for audio in (MP4["aac"][: MP4["aac"].index(b"mdat") + 8], FLAC[:100]):
        with pytest.raises(DecodeError, match=r"truncated audio|undecodable audio"):
            make_clip(audio, WHOLE)


@with_odd_files
@pytest.mark.parametrize("path", SOUNDS)
def test_clips_of_odd_files(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    audio, sound, config = (FOLDER / path).read_bytes(), SOUNDS[path], WHOLE.replace(min_duration_s=0.001)
    whole = decode_recording(audio, sample_rate_hz=16_000).astype(int)
    if whole.max() - whole.min() <= 2 * clips.SILENCE_STEPS:  # several files are nearly silent
        with pytest.raises(DecodeError, match="silent audio"):
            make_clip(audio, config)
        monkeypatch.setattr(clips, "SILENCE_STEPS", -1)
    clip = make_clip(audio, config)
    found = samples_of(clip.flac)
    assert len(found) == len(whole) and np.abs(found - whole).max() <= sound.max_steps
    assert clip.duration_s == len(found) / 16_000
    assert clip.recording_s == pytest.approx(sound.frames / sound.rate_hz, abs=(sound.within + 2) / sound.rate_hz)
    assert clip.fault == FAULTS.get(path, "")


@with_odd_files
@pytest.mark.parametrize("path", REFUSED)
def test_refused_odd_files(path: str) -> None:
    audio = (FOLDER / path).read_bytes()
    with pytest.raises(DecodeError) as caught:
        make_clip(audio, ClipConfig())
    assert caught.value.reason == REFUSED[path]


@with_odd_files
def test_a_truncated_odd_file_is_used_up_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "SILENCE_STEPS", -1)
    (path,) = (path for path, reason in REFUSED.items() if reason == "truncated audio")
    clip = make_clip((FOLDER / path).read_bytes(), WHOLE.replace(min_duration_s=0.5))
    assert clip.recording_s == 39_936 / 44_100
    assert clip.fault == "truncated audio: it ends after 0.906 s of 262 s; the first 0.9056 s are intact"

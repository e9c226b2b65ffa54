"""Tests properties of decoding for all formats that can be written here, at any rate, number of channels and length.

All files contain the same audio: a rising tone in every channel. The position and speed at which it is decoded show
whether a decoder has shifted it, lost a part of it, or used a wrong rate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import scipy.signal
import soxr
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from mulan.data.audio.windows import decode_recording, decode_window, duration_s
from mulan.data.errors import DecodeError
from tests.audio_files import apev2, id3v1, id3v2, mp3
from tests.encodings import by_ffmpeg, by_libsndfile

RATE_HZ = 16_000
MIN_HZ, MAX_HZ = 8000, 96_000
STANDARD_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
OPUS_HZ = (8000, 12_000, 16_000, 24_000, 48_000)
MPEG_HZ = STANDARD_HZ[:9]

LIKE = 0.5
"""Minimum correlation of a decoded part with the encoded one; at a wrong position or speed it is about 0. Lossy
encoders change the last part, or omit as much of it as their delay."""

LATE_S = 0.15
"""Tolerance for a change of rate in an MPEG stream, where FFmpeg decodes the first frame at the second rate."""


@dataclass(frozen=True)
class Format:
    """A function that writes files of a format, and the tolerances of decoding them."""

    name: str
    write: Callable[[np.ndarray, int], bytes]
    """Encodes float32 [frames, channels] at a rate in Hz."""
    rates_hz: tuple[int, ...] = ()
    """Supported sample rates; empty for any."""
    channels: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    front: int = 0
    """Maximum number of frames before the audio."""
    behind: int = 0
    """Maximum number of frames after the audio: a part of the codec's block."""
    window_steps: int = 2
    """Maximum difference between samples of a window and of the recording; lossy codecs differ between starts."""
    min_frames: int = 0
    """Minimum number of frames; FFmpeg does not recognise shorter files, as it requires several frames of the codec."""


def of_libsndfile(container: str, subtype: str, **more: object) -> Format:
    return replace(
        Format(f"{container}/{subtype}", partial(by_libsndfile, container=container, subtype=subtype)), **more
    )


def of_ffmpeg(container: str, codec: str, **more: object) -> Format:
    return replace(Format(f"{container}/{codec}", partial(by_ffmpeg, container=container, codec=codec)), **more)


MONO, STEREO = (1,), (1, 2)
PLAIN = {
    "WAV": ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    "WAVEX": ("PCM_16", "PCM_24", "FLOAT"),
    "RF64": ("PCM_16", "FLOAT"),
    "W64": ("PCM_16", "PCM_24", "FLOAT"),
    "AIFF": ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW"),
    "AU": ("PCM_16", "PCM_24", "FLOAT", "ALAW"),
    "CAF": ("PCM_16", "PCM_24", "FLOAT"),
    "NIST": ("PCM_16", "PCM_24"),
    "IRCAM": ("PCM_16", "FLOAT"),
    "PAF": ("PCM_16",),
    "PVF": ("PCM_16",),
    "MAT4": ("PCM_16",),
    "MAT5": ("PCM_16", "FLOAT"),
}
MPEG = {"channels": STEREO, "rates_hz": MPEG_HZ, "front": 1152 + 1105, "behind": 2 * 1152, "window_steps": 64}

FORMATS = [
    *(of_libsndfile(container, subtype) for container, subtypes in PLAIN.items() for subtype in subtypes),
    of_libsndfile("AVR", "PCM_16", channels=STEREO),
    of_libsndfile("SVX", "PCM_16", channels=MONO, rates_hz=STANDARD_HZ[:-2]),
    of_libsndfile("VOC", "PCM_16", channels=STEREO),
    of_libsndfile("WAV", "IMA_ADPCM", channels=STEREO, behind=4096),
    of_libsndfile("WAV", "MS_ADPCM", channels=STEREO, behind=4096),
    of_libsndfile("W64", "MS_ADPCM", channels=STEREO, behind=4096),
    of_libsndfile("AIFF", "IMA_ADPCM", channels=STEREO, behind=64),
    of_libsndfile("WAV", "GSM610", channels=MONO, behind=640),
    of_libsndfile("W64", "GSM610", channels=MONO, behind=640),
    of_libsndfile("AIFF", "GSM610", channels=MONO, behind=640),
    of_libsndfile("WAV", "G721_32", channels=MONO, behind=160),
    of_libsndfile("AU", "G721_32", channels=MONO, behind=160),
    of_libsndfile("AU", "G723_40", channels=MONO, behind=160),
    of_libsndfile("WAV", "NMS_ADPCM_32", channels=MONO, behind=160),
    of_libsndfile("CAF", "ALAC_16", behind=4096),
    of_libsndfile("FLAC", "PCM_16", rates_hz=STANDARD_HZ),
    of_libsndfile("FLAC", "PCM_24", rates_hz=STANDARD_HZ),
    of_libsndfile("OGG", "VORBIS", window_steps=64),
    of_libsndfile("OGG", "OPUS", rates_hz=OPUS_HZ, channels=STEREO, front=16, window_steps=400),
    Format("MP3", partial(mp3, variable=False, announced=True), **MPEG),
    Format("MP3 of unknown length", partial(mp3, variable=False, announced=False), **MPEG),
    Format("MP3 of variable rate", partial(mp3, variable=True, announced=True), **MPEG),
    Format("MP3 of variable rate and unknown length", partial(mp3, variable=True, announced=False), **MPEG),
    of_ffmpeg("adts", "aac", rates_hz=STANDARD_HZ, front=2048, behind=2048, min_frames=8 * 1024),
    of_ffmpeg("mp4", "aac", rates_hz=STANDARD_HZ, front=1024, behind=2048),
    of_ffmpeg("matroska", "aac", rates_hz=STANDARD_HZ, front=2048, behind=2048),
    of_ffmpeg("mp4", "alac", behind=4096),
    of_ffmpeg("mp4", "flac"),
    of_ffmpeg("mp4", "libopus", rates_hz=OPUS_HZ, channels=STEREO, front=312, behind=960),
    of_ffmpeg("webm", "libopus", rates_hz=OPUS_HZ, channels=STEREO, front=16, behind=960),
    of_ffmpeg("ogg", "flac"),
    of_ffmpeg("wv", "wavpack"),
    of_ffmpeg("tta", "tta", channels=STEREO),
    of_ffmpeg("ac3", "ac3", rates_hz=(32_000, 44_100, 48_000), front=256, behind=1536, min_frames=8 * 1536),
]
CHAINED = [each for each in FORMATS if each.name.startswith(("MP3", "adts", "OGG", "FLAC"))]
TAGGED = [each for each in FORMATS if each.name.startswith(("MP3", "adts", "FLAC"))]


@dataclass(frozen=True)
class Case:
    """A file to write and decode."""

    format: Format
    rate_hz: int
    channels: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.format.name}, {self.rate_hz} Hz, {self.channels} channels, {self.seconds:.3f} s"

    @property
    def sound(self) -> np.ndarray:
        """Rising tone, float32 [frames]."""
        time_s = np.arange(round(self.seconds * self.rate_hz)) / self.rate_hz
        rise = scipy.signal.chirp(time_s, 200, max(time_s[-1], 0.2), 1500, method="linear")
        return (0.5 * rise).astype(np.float32)

    @property
    def file(self) -> bytes:
        return self.format.write(np.repeat(self.sound[:, None], self.channels, axis=1), self.rate_hz)

    def expected(self, rate_hz: int = RATE_HZ) -> np.ndarray:
        """Returns the tone at another rate."""
        return soxr.resample(self.sound, self.rate_hz, rate_hz)

    def within_s(self) -> tuple[float, float]:
        """Returns the time in seconds that decoding may add before the audio, and in total."""
        own_hz = 48_000 if "opus" in self.format.name.lower() else self.rate_hz
        return self.format.front / own_hz, (self.format.front + self.format.behind) / own_hz


@st.composite
def cases(draw: st.DrawFn, formats: list[Format] = FORMATS) -> Case:
    """Generates cases of any format, more of them short than long."""
    chosen = draw(st.sampled_from(formats))
    rates = st.sampled_from(chosen.rates_hz) if chosen.rates_hz else st.integers(MIN_HZ, MAX_HZ)
    rate_hz, seconds = draw(rates), draw(st.one_of(st.floats(0.05, 1.0), st.floats(0.05, 6.0)))
    return Case(chosen, rate_hz, draw(st.sampled_from(chosen.channels)), max(seconds, chosen.min_frames / rate_hz))


def checked(examples: int) -> settings:
    return settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


def assert_holds(decoded: np.ndarray, expected: np.ndarray, *, front: int, description: object) -> None:
    """Asserts that the expected audio is completely decoded, at its speed, and begins within ``front`` samples."""
    assert len(decoded) >= len(expected) - 2, f"{description}: {len(decoded)} of {len(expected)} samples"
    padded = np.concatenate([np.zeros(2), decoded / 32_768, np.zeros(front + 2)])[: len(expected) + front + 4]
    start = int(np.argmax(scipy.signal.correlate(padded, expected, mode="valid")))
    step = max(400, len(expected) // 8)
    for place in range(0, len(expected) - 399, step):
        there, here = padded[start:][place : place + step], expected[place : place + step]
        there = there[: len(here)]
        like = there @ here / np.sqrt((there @ there) * (here @ here) + 1e-9)
        assert like > LIKE, f"{description}: {like:.2f} at {place} of {len(expected)} samples"


@checked(250)
@given(cases())
def test_all_audio_is_decoded(case: Case) -> None:
    event(case.format.name)
    whole, expected = decode_recording(case.file, sample_rate_hz=RATE_HZ), case.expected()
    front_s, more_s = case.within_s()
    assert len(whole) <= len(expected) + more_s * RATE_HZ + 2, f"{case}: {len(whole)} of {len(expected)} samples"
    assert_holds(whole, expected, front=int(front_s * RATE_HZ), description=case)
    assert duration_s(case.file) == pytest.approx(len(whole) / RATE_HZ, abs=2 / RATE_HZ), case


@checked(200)
@given(
    cases(),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from((8000, RATE_HZ, 22_050, 44_100, 48_000)),
    st.floats(0, 1.2),
)
@example(Case(FORMATS[0], 48_000, 1, 25_200 / 48_000), 0.5, 44_100, 1.2)  # 23,152.5 samples
def test_a_window_is_a_slice_of_the_recording(case: Case, draw: float, rate_hz: int, share: float) -> None:
    file = case.file
    whole = decode_recording(file, sample_rate_hz=rate_hz)
    window = np.full(1 + round(share * len(whole)), 12_345, np.int16)
    filled = decode_window(file, window, draw=draw, sample_rate_hz=rate_hz)
    assert filled == min(len(window), len(whole)), case
    assert not window[filled:].any(), case
    start = int(draw * (len(whole) - filled + 1))
    steps = int(np.abs(window[:filled].astype(int) - whole[start : start + filled]).max())
    assert steps <= case.format.window_steps, f"{case} at {rate_hz} Hz: {steps} steps"


@checked(80)
@given(
    cases(TAGGED), st.sampled_from((0, 11, 4000, 200_000)), st.sampled_from((b"", id3v1(), apev2(), apev2() + id3v1()))
)
def test_tags_are_not_decoded_as_audio(case: Case, padding: int, behind: bytes) -> None:
    file = case.file
    tagged = (id3v2(padding) if padding else b"") + file + behind
    whole, plain = (decode_recording(content, sample_rate_hz=RATE_HZ) for content in (tagged, file))
    assert abs(len(whole) - len(plain)) <= case.format.behind * RATE_HZ / case.rate_hz, f"{case}, {padding}, {behind!r}"
    assert_holds(whole, case.expected(), front=int(case.within_s()[0] * RATE_HZ), description=case)


@checked(150)
@given(cases(), st.floats(0.05, 0.95))
def test_a_truncated_file_is_decoded_or_rejected(case: Case, share: float) -> None:
    file, expected = case.file, case.expected()
    try:
        whole = decode_recording(file[: int(share * len(file))], sample_rate_hz=RATE_HZ)
    except DecodeError as error:
        event(f"{case.format.name}: {error.reason}")
        return
    front_s, more_s = case.within_s()
    assert len(whole) <= len(expected) + more_s * RATE_HZ + 2, f"{case}: more than there was"
    left = min(len(whole) - int(more_s * RATE_HZ), len(expected)) - 400
    if left > 0:
        assert_holds(whole, expected[:left], front=int(front_s * RATE_HZ), description=f"{share:.2f} of {case}")


@checked(80)
@given(cases(CHAINED), st.data())
def test_concatenated_files_are_decoded_completely(first: Case, data: st.DataObject) -> None:
    second = data.draw(cases([first.format]))
    whole = decode_recording(first.file + second.file, sample_rate_hz=RATE_HZ)
    sounds, description = (first.expected(), second.expected()), f"{first}; {second}"
    late_s = LATE_S if first.rate_hz != second.rate_hz else 0.0
    fronts = [int((each.within_s()[0] + late_s) * RATE_HZ) for each in (first, second)]
    more = [int((each.within_s()[1] + late_s) * RATE_HZ) + 2 for each in (first, second)]
    assert len(whole) <= sum(map(len, sounds)) + sum(more), f"{description}: {len(whole)} samples"
    assert_holds(whole, sounds[0], front=fronts[0], description=description)
    assert_holds(whole[len(sounds[0]) - 2 :], sounds[1], front=more[0] + fronts[1], description=description)

"""Tests that the durations that headers state are those of the encoded tones, and that few bytes are read."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from mulan.data.audio.stated_duration import is_plausible_duration, stated_duration_s
from tests.audio_files import id3v1, id3v2
from tests.encodings import by_ffmpeg, by_libsndfile, cbr_mp3, vbr_mp3, without_xing
from tests.sounds import noise, tone

SECONDS = 20.0

Encode = Callable[[np.ndarray, int], bytes]
STATED: dict[str, tuple[Encode, float]] = {
    "flac": (lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "FLAC"), 0),
    "wav": (lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "WAV"), 0),
    "wav, floats": (lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "WAV", "FLOAT"), 0),
    "aiff": (lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "AIFF"), 0),
    "vorbis": (lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "OGG", "VORBIS"), 0),
    "opus": (lambda samples, rate_hz: by_libsndfile(samples, rate_hz, "OGG", "OPUS"), 0.001),
    "opus of FFmpeg": (lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "ogg", "libopus"), 0.03),
    "mp3, constant": (cbr_mp3, 0.08),
    "mp3, variable": (vbr_mp3, 0.08),
    "mp3 without Xing": (lambda samples, rate_hz: without_xing(vbr_mp3(samples, rate_hz)), SECONDS / 3),
    "mp3 with tags": (lambda samples, rate_hz: id3v2(40_000) + cbr_mp3(samples, rate_hz) + id3v1(), 0.08),
    "m4a": (lambda samples, rate_hz: by_ffmpeg(samples, rate_hz, "mp4", "aac"), 0.1),
}
"""Encoders by format, with the tolerance in seconds: padding of the codec, or that of an estimate."""


class Reads:
    """Reads ranges of a file in memory, and counts them."""

    def __init__(self, content: bytes) -> None:
        self.content, self.bytes, self.count = content, 0, 0

    def __call__(self, start: int, size: int) -> bytes:
        part = self.content[start : start + size]
        self.bytes, self.count = self.bytes + len(part), self.count + 1
        return part


@pytest.mark.parametrize("form", STATED)
def test_the_stated_duration_is_that_of_the_tone(form: str) -> None:
    encode, tolerance_s = STATED[form]
    content = encode(tone(440, SECONDS, rate_hz=48_000) + noise(SECONDS, 48_000, loud=0.1), 48_000)
    for known in (0, 20, 128):
        reads = Reads(content)
        seconds = stated_duration_s(reads, len(content), content[:known])
        assert seconds == pytest.approx(SECONDS, abs=tolerance_s + 1e-9)
        assert reads.bytes <= max(0.02 * len(content), 6144)
        assert reads.count == 0 or form not in ("flac", "wav", "aiff") or known < 128


def test_formats_whose_header_states_none_are_unknown() -> None:
    samples = tone(440, 2.0)
    files = [by_ffmpeg(samples, 16_000, *form) for form in (("adts", "aac"), ("matroska", "aac"), ("ogg", "flac"))]
    unstated = bytearray(by_libsndfile(samples, 16_000, "FLAC"))
    unstated[21:26] = bytes([unstated[21] & 0xF0, 0, 0, 0, 0])  # the total number of samples
    wav = by_libsndfile(samples, 16_000, "WAV")
    never_completed = wav.replace(b"data" + wav[40:44], b"data\xff\xff\xff\xff")
    for content in (*files, bytes(unstated), never_completed, b"", b"\xff", b"OggS", b"words " * 99, bytes(999)):
        assert stated_duration_s(Reads(content), len(content)) is None


def test_damaged_files_have_a_duration_or_none() -> None:
    draw = random.Random(0)
    files = [encode(tone(440, 1.0, rate_hz=48_000), 48_000) for encode, _ in STATED.values()]
    for _ in range(1500):
        content = bytearray(draw.choice(files))
        for _ in range(draw.randrange(1, 8)):
            place = draw.choice((draw.randrange(64), draw.randrange(len(content))))
            content[place] = draw.choice((0, 255, draw.randrange(256)))
        whole = bytes(content[: draw.choice((len(content), draw.randrange(len(content))))])
        reads = Reads(whole)
        seconds = stated_duration_s(reads, len(whole), whole[: draw.choice((0, 128))])
        assert seconds is None or is_plausible_duration(seconds, len(whole))
        assert reads.bytes <= 75_000


@pytest.mark.parametrize(
    ("seconds", "size", "plausible"),
    [
        (10.0, 160_000, True),
        (10_000.0, 160_000, False),  # milliseconds
        (160_000.0, 160_000, False),  # samples
        (30.0, 30 * 4 * 2 * 192_000, True),
        (0.0, 100, False),
        (-1.0, 100, False),
        (float("nan"), 100, False),
        (float("inf"), 100, False),
        (0.001, 160_000, False),
    ],
)
def test_impossible_durations_are_not_plausible(seconds: float, size: int, plausible: bool) -> None:
    assert is_plausible_duration(seconds, size) is plausible

"""Excerpts are the middle of recordings, short, the same in each run, and bounded in size."""

import io

import numpy as np
import pytest
import soundfile

from mulan.data.errors import DecodeError
from mulan.evaluation.report.sounds import SECONDS, HeardRecording, encode_excerpt, excerpts
from tests.evaluation.report.planted_report import planted_audio


def heard(*names: str) -> list[HeardRecording]:
    return [HeardRecording("retrieval.captions", "set", name) for name in names]


def decoded(mp3: bytes) -> tuple[np.ndarray, int]:
    assert soundfile.info(io.BytesIO(mp3)).format == "MP3"
    samples, rate = soundfile.read(io.BytesIO(mp3))
    return samples, rate


def test_an_excerpt_is_the_middle_of_the_recording() -> None:
    rate, third = 24_000, 24_000 * 10
    tones = [0.3 * np.sin(2 * np.pi * hertz * np.arange(third) / rate) for hertz in (200, 1000, 3000)]
    content = io.BytesIO()
    soundfile.write(content, np.concatenate(tones), rate, format="WAV")
    samples, found_rate = decoded(encode_excerpt(content.getvalue()))
    assert len(samples) / found_rate == pytest.approx(SECONDS, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) / len(samples) * found_rate == pytest.approx(1000, abs=5)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)


def test_short_recordings_are_kept_whole_and_damaged_ones_refused() -> None:
    samples, rate = decoded(encode_excerpt(planted_audio("a", seconds=2)))
    assert len(samples) / rate == pytest.approx(2, abs=0.1)
    with pytest.raises(DecodeError):
        encode_excerpt(b"no audio at all")


def test_the_same_recording_gives_the_same_bytes() -> None:
    assert encode_excerpt(planted_audio("a")) == encode_excerpt(planted_audio("a"))


def test_missing_recordings_are_named_with_the_reason() -> None:
    files = {"good": planted_audio("a"), "damaged": b"RIFF"}
    found = excerpts(heard("good", "absent", "damaged"), lambda each: files.get(each.recording_id))
    assert list(found.mp3) == heard("good")
    assert list(found.missing) == heard("absent", "damaged")
    assert found.missing[heard("absent")[0]] == "its audio is not available"


def test_the_size_of_all_is_bounded_and_equal_ones_count_once() -> None:
    size = len(encode_excerpt(planted_audio("a")))
    same = excerpts(heard("1", "2", "3"), lambda _: planted_audio("a"), max_bytes=size)
    assert len(same.mp3) == 3
    # recordings of ids 'a', 'b', 'c' differ in pitch and have excerpts of about the same size
    some = excerpts(heard("a", "b", "c"), lambda each: planted_audio(each.recording_id), max_bytes=int(2.5 * size))
    assert (list(some.mp3), list(some.missing)) == (heard("a", "b"), heard("c"))
    assert some.missing[heard("c")[0]] == "the page would become too large"

"""Tests the corpus that is generated for benchmarks."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mulan.benchmarks.chords import FORMATS, RATE_HZ, SECONDS, chords, write_chords
from mulan.data.audio.windows import decode_recording
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.recipes.registry import named_recipes
from tests.sounds import flac


def test_flac_compresses_chords_like_music() -> None:
    sound = chords(0)
    assert sound.shape == (SECONDS * RATE_HZ,)
    assert np.abs(sound).max() <= 1
    assert not np.array_equal(sound, chords(1))
    assert 0.4 < len(flac(sound)) / (2 * len(sound)) < 0.7


def test_a_corpus_of_chords_has_texts_of_every_source_of_the_demo(tmp_path: Path) -> None:
    write_chords(str(tmp_path), recordings=2)
    corpus = Corpus.open(str(tmp_path))
    assert corpus.table["split"].to_pylist() == ["train"] * 2
    assert corpus.table["duration_s"].to_pylist() == [30.0] * 2
    ratio = named_recipes()["demo"].data.source_ratio
    assert all(
        {source for source, share in ratio if share} <= set(available)
        for available in corpus.table["sources"].to_pylist()
    )
    for number in range(2):
        sound = decode_recording(read_record(corpus, number).audio, sample_rate_hz=RATE_HZ)
        assert np.abs(sound - 32_768 * chords(number)).max() <= 1.5


@pytest.mark.parametrize(
    ("name", "format_of_file", "rate_hz", "channels"), [("flac", "FLAC", 16_000, 1), ("mp3", "MP3", 44_100, 2)]
)
def test_a_recording_has_the_format_and_the_sound(name: str, format_of_file: str, rate_hz: int, channels: int) -> None:
    sound = chords(0)
    encoded = FORMATS[name].encode(sound)
    info = soundfile.info(io.BytesIO(encoded))
    assert (info.format, info.samplerate, info.channels) == (format_of_file, rate_hz, channels)
    left, right = (soundfile.read(io.BytesIO(encoded), always_2d=True)[0][:, channel] for channel in (0, -1))
    assert (channels == 1) == np.array_equal(left, right)
    decoded = decode_recording(encoded, sample_rate_hz=RATE_HZ)
    assert len(decoded) == len(sound)
    assert np.corrcoef(decoded, sound)[0, 1] > 0.99

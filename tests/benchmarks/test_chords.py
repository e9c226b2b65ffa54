"""Tests the corpus that is generated for benchmarks."""

from pathlib import Path

import numpy as np

from mulan.benchmarks.chords import RATE_HZ, SECONDS, chords, write_chords
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

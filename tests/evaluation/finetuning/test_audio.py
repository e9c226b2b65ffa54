"""Tests the windows of recordings against their decoded audio."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan.data.audio.windows import covering_windows, decode_recording
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.evaluation.embedding.indexed import indexed_recordings
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.embedding.windows import Windowing
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.audio import AudioRecordings
from tests.evaluation.planted_encoder import RATE_HZ, WINDOW_SAMPLES, PlantedEncoder


@pytest.fixture(scope="module")
def audio(tiny_corpus: str) -> AudioRecordings:
    """The recordings of the test split, of 2 to 4 s, with windows of 0.5 s."""
    corpus = Corpus.open(tiny_corpus)
    embedded = embed_here(PlantedEncoder(), corpus, ["test"], max_skipped_share=0).embedded
    indexed = {each.recording_id: each for each in indexed_recordings(corpus, ["train", "test"])}
    return AudioRecordings.of(embedded, indexed, Windowing(RATE_HZ, WINDOW_SAMPLES))


def encoded(recording_id: str, corpus_uri: str) -> bytes:
    corpus = Corpus.open(corpus_uri)
    return read_record(corpus, corpus.table["recording_id"].to_pylist().index(recording_id)).audio


def test_random_windows_are_excerpts_at_the_drawn_positions(audio: AudioRecordings, tiny_corpus: str) -> None:
    batches = [(np.array([3, 0]), np.array([0.25, 0.999])), (np.array([3]), np.array([0.0]))]
    result = list(audio.random_windows(batches, threads=2))
    assert [numbers.tolist() for _, numbers in result] == [[3, 0], [3]]
    for (windows, _), (numbers, draws) in zip(result, batches, strict=True):
        for window, number, draw in zip(windows, numbers, draws, strict=True):
            samples = decode_recording(
                encoded(audio.recordings[number].recording_id, tiny_corpus), sample_rate_hz=RATE_HZ
            )
            start = int(draw * (len(samples) - WINDOW_SAMPLES + 1))
            # resampling of an excerpt rounds a few samples otherwise
            np.testing.assert_allclose(window, samples[start : start + WINDOW_SAMPLES], atol=1)


@pytest.mark.parametrize("at_most", [None, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_covering_windows_are_those_that_encoders_get_or_evenly_spaced_ones_of_them(
    audio: AudioRecordings, tiny_corpus: str, at_most: int | None, threads: int
) -> None:
    result = list(audio.covering_windows(threads=threads, at_most=at_most))
    numbers = np.concatenate([numbers for _, numbers in result])
    windows = np.concatenate([windows for windows, _ in result])
    assert (np.diff(numbers) >= 0).all()
    assert np.bincount(numbers).tolist() == audio.counts_of(at_most).tolist()
    for number, recording in enumerate(audio.recordings):
        expected = np.stack(
            list(covering_windows(encoded(recording.recording_id, tiny_corpus), WINDOW_SAMPLES, sample_rate_hz=RATE_HZ))
        )
        assert len(expected) == audio.counts[number] >= 4
        if at_most is not None:
            expected = expected[[0, round((len(expected) - 1) / 2), len(expected) - 1]]
        np.testing.assert_array_equal(windows[numbers == number], expected)


def test_a_recording_that_cannot_be_read_any_more_is_named(audio: AudioRecordings, tmp_path: Path) -> None:
    first = audio.recordings[0]
    lost = first.location._replace(uri=str(tmp_path / "lost.tar"))
    recording = replace(first, recording_id="lost-1", location=lost)
    moved = AudioRecordings((recording,), np.array([4]), audio.windowing)
    with pytest.raises(EvaluationError, match=r"lost-1, which was read before, .*missing shard"):
        list(moved.random_windows([(np.array([0]), np.array([0.5]))], threads=1))
    with pytest.raises(EvaluationError, match=r"lost-1, which was read before, .*missing shard"):
        list(moved.covering_windows(threads=1))

"""Tests that every stream delivers the windows of the decode function and the tokens of the first text."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from mulan.benchmarks.chords import FORMATS, chords
from mulan.benchmarks.data_process import LOADERS, TOLERANCE, check
from mulan.benchmarks.data_streams import (
    Loaded,
    decode_alone,
    draw_of,
    reader_alone,
    window_of,
    window_of_whole,
)
from mulan.config.recipe import Recipe
from mulan.config.sections import STORED_SOURCES
from mulan.data.audio.windows import decode_window
from mulan.data.batch import Batch
from mulan.data.corpus.records import read_record
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.data.text import tokenize

IN_THIS_PROCESS = 0


def stream(name: str, recipe: Recipe, reader: MicroBatchReader) -> Iterator[Loaded]:
    return LOADERS[name](recipe, reader, IN_THIS_PROCESS)


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "Ray Data"])
def test_loaders_without_a_plan_deliver_the_expected_windows_and_tokens(
    name: str, recipe: Recipe, reader: MicroBatchReader
) -> None:
    rows = {one: row for row, one in enumerate(reader.corpus.table["recording_id"].to_pylist())}
    train = set(reader.corpus.recording_ids(reader.corpus.rows("train").tolist()))
    for loaded in islice(stream(name, recipe, reader), 3):
        check(loaded, recipe, reader)
        if not name.startswith("WebDataset"):  # which reads whole shards, with all splits
            assert set(loaded.recording_id) <= train
        texts = [read_record(reader.corpus, rows[one]).metadata["texts"] for one in loaded.recording_id]
        firsts = [
            next(by_source[source][0] for source in STORED_SOURCES if by_source.get(source)) for by_source in texts
        ]
        assert np.array_equal(loaded.token_ids, tokenize(firsts, reader.tokenizer)[0])


def test_decode_alone_cycles_through_all_recordings(recipe: Recipe, reader: MicroBatchReader) -> None:
    m, train = recipe.batch.pairs_per_micro_batch, reader.corpus.recording_ids(reader.corpus.rows("train").tolist())
    names = [name for loaded in islice(decode_alone(recipe, reader), 11) for name in loaded.recording_id]
    assert names == (train * 3)[: 11 * m]


def test_reader_alone_follows_the_plan(recipe: Recipe, reader: MicroBatchReader) -> None:
    for step, loaded in enumerate(islice(reader_alone(recipe, reader), 2)):
        batch: Batch = reader(Item(Phase.TRAIN, step, 0))
        assert loaded.item == batch.item
        assert np.array_equal(loaded.windows, batch.waveform[:, 0])
        assert np.array_equal(loaded.token_ids, batch.token_ids)


def test_the_position_of_a_window_depends_on_the_recording_id(recipe: Recipe, reader: MicroBatchReader) -> None:
    record, window = read_record(reader.corpus, 5), np.empty(recipe.data.window_samples, np.int16)
    draws = [draw_of(name) for name in reader.corpus.table["recording_id"].to_pylist()]
    assert len(set(draws)) == len(draws) and all(0 <= draw < 1 for draw in draws)
    decode_window(record.audio, window, draw=draws[5], sample_rate_hz=recipe.data.sample_rate_hz)
    assert np.array_equal(window_of(record.audio, record.recording_id, recipe), window)


@pytest.mark.parametrize(("name", "tolerance"), [("flac", 0.0), ("mp3", TOLERANCE)])
def test_a_window_of_a_whole_recording_is_that_of_the_decode_function(
    name: str, tolerance: float, recipe: Recipe
) -> None:
    """Without resampling all samples are equal."""
    audio = FORMATS[name].encode(chords(1))
    ours, usual = (decode(audio, "an id", recipe).astype(float) for decode in (window_of, window_of_whole))
    assert np.linalg.norm(ours) > 0
    assert np.linalg.norm(usual - ours) <= tolerance * np.linalg.norm(ours)
    assert (tolerance > 0) == (not np.array_equal(usual, ours))

"""The data benchmark on a corpus of tones: all candidates deliver what the decode function makes, and are shown."""

from dataclasses import replace

import numpy as np
import pytest

from mulan.benchmarks.chords import RATE_HZ, SECONDS, chords
from mulan.benchmarks.data import GOALS, bench_data
from mulan.benchmarks.data_process import ALONE, LOADERS, check
from mulan.benchmarks.data_streams import decode_alone, reader_alone
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.recipes.registry import load_recipe, named_recipes
from tests.sounds import flac


@pytest.fixture(scope="module")
def recipe(tiny_corpus: str) -> Recipe:
    settings = ["batch.micro_batches=1", "batch.pairs_per_micro_batch=6", "scale.workers=1", "data.window_s=1.5"]
    return load_recipe("demo_miniature", named_recipes(), settings, data_uri=tiny_corpus)


@pytest.fixture(scope="module")
def reader(recipe: Recipe) -> MicroBatchReader:
    return MicroBatchReader.of(recipe)


@pytest.mark.parametrize("stream", [decode_alone, reader_alone])
def test_a_wrong_window_is_found(stream: type, recipe: Recipe, reader: MicroBatchReader) -> None:
    loaded = next(iter(stream(recipe, reader)))
    check(loaded, recipe, reader)
    windows = np.array(loaded.windows)
    windows[3, 100] += 1
    with pytest.raises(AssertionError):
        check(replace(loaded, windows=windows), recipe, reader)
    with pytest.raises(AssertionError):  # too few
        check(replace(loaded, recording_id=loaded.recording_id[:5], windows=loaded.windows[:5]), recipe, reader)


@pytest.mark.long(group="whole")
@pytest.mark.processes
def test_all_candidates_are_read(tiny_corpus: str) -> None:
    said: list[str] = []
    windows = 1320  # so many that the CPU taken is not nought, which is counted in hundredths of a second
    report = bench_data(
        rounds=1, workers=2, pairs=6, seconds=30.0, windows=windows, data_uri=tiny_corpus, progress=said.append
    )  # each candidate fails unless its windows are the decode function's
    assert [row.name for row in report.rows] == [*ALONE, *LOADERS]
    assert len(said) == len(report.rows)
    for row in report.rows:
        assert all(figure.low > 0 for figure in row.figures.values())
        assert ("first micro-batch" in row.figures) == (row.name in LOADERS)
    assert [goal.bound for goal in report.goals] == list(GOALS.values())


def test_flac_packs_the_chords_as_it_packs_music() -> None:
    sound = chords(0)
    assert sound.shape == (SECONDS * RATE_HZ,)
    assert np.abs(sound).max() <= 1
    assert not np.array_equal(sound, chords(1))
    assert 0.4 < len(flac(sound)) / (2 * len(sound)) < 0.7

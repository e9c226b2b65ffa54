"""Tests that a measurement of the data path fails if a window differs from the decode function's."""

from dataclasses import replace

import numpy as np
import pytest

from mulan.benchmarks.data_process import check
from mulan.benchmarks.data_streams import decode_alone, reader_alone
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase


@pytest.mark.parametrize("stream", [decode_alone, reader_alone])
def test_a_wrong_or_missing_window_is_detected(stream: type, recipe: Recipe, reader: MicroBatchReader) -> None:
    loaded = next(iter(stream(recipe, reader)))
    check(loaded, recipe, reader)
    windows = np.array(loaded.windows)
    windows[3, 100] += 1
    with pytest.raises(AssertionError):
        check(replace(loaded, windows=windows), recipe, reader)
    with pytest.raises(AssertionError):  # too few
        check(replace(loaded, recording_id=loaded.recording_id[:5], windows=loaded.windows[:5]), recipe, reader)


def test_the_item_of_the_plan_determines_the_expected_windows(recipe: Recipe, reader: MicroBatchReader) -> None:
    """The windows are wrong for another micro-batch."""
    loaded = next(iter(reader_alone(recipe, reader)))
    check(loaded, recipe, reader)
    with pytest.raises(AssertionError):
        check(replace(loaded, item=Item(Phase.TRAIN, 1, 0)), recipe, reader)
    with pytest.raises(AssertionError):
        check(replace(loaded, item=None), recipe, reader)

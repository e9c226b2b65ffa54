"""A reading of the data path is refused where a window is not the decode function's."""

from dataclasses import replace

import numpy as np
import pytest

from mulan.benchmarks.data_process import check
from mulan.benchmarks.data_streams import decode_alone, reader_alone
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase


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


def test_an_item_of_the_plan_says_which_windows_are_right(recipe: Recipe, reader: MicroBatchReader) -> None:
    """The same windows, of another micro-batch, are wrong."""
    loaded = next(iter(reader_alone(recipe, reader)))
    check(loaded, recipe, reader)
    with pytest.raises(AssertionError):
        check(replace(loaded, item=Item(Phase.TRAIN, 1, 0)), recipe, reader)
    with pytest.raises(AssertionError):
        check(replace(loaded, item=None), recipe, reader)

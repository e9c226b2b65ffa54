"""Tests that Ray Data prints nothing while a block runs, and that its former settings return."""

import logging
from contextlib import suppress

from ray.data import DataContext

from mulan.data.ray_data_output import quiet_ray_data


def test_logs_and_progress_bars_are_hidden_in_the_block_only() -> None:
    log, outside = logging.getLogger("ray.data"), DataContext.get_current()
    level, bars = log.level, outside.enable_progress_bars
    with suppress(KeyError), quiet_ray_data() as context:
        assert DataContext.get_current() is context
        assert not context.enable_progress_bars
        assert not log.isEnabledFor(logging.ERROR)
        raise KeyError
    assert log.level == level
    assert DataContext.get_current() is outside
    assert outside.enable_progress_bars == bars
